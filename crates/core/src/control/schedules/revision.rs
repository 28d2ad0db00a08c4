//! A revision in JSON: a text, as it is larger than the numbers that JavaScript can hold. A number is read, too. Pure.

use serde::{Deserialize, Deserializer, Serializer, de};

use crate::control::horizons::Sequence;

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(Sequence),
    Text(String),
}

pub fn serialize<S: Serializer>(revision: &Sequence, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&revision.to_string())
}

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Sequence, D::Error> {
    match Written::deserialize(deserializer)? {
        Written::Number(revision) => Ok(revision),
        Written::Text(text) => {
            text.parse().map_err(|_| de::Error::custom(format!("{text:?} is no revision")))
        }
    }
}

/// Of one that may be absent.
pub mod optional {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::control::horizons::Sequence;

    #[derive(Deserialize)]
    struct Present(#[serde(with = "super")] Sequence);

    pub fn serialize<S: Serializer>(
        revision: &Option<Sequence>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match revision {
            Some(revision) => super::serialize(revision, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Sequence>, D::Error> {
        let read = Option::<Present>::deserialize(deserializer)?;
        Ok(read.map(|Present(revision)| revision))
    }
}
