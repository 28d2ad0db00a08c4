//! In: a key and the value given for it. Out: the value in [`Config`], or what is wrong with it.

use ::config::{Value, ValueKind};

use super::lists;
use super::value::{Wrong, duration, maybe, number, ratio, split_commas, split_uris, text, texts};
use dormouse_core::settings::Config;
use dormouse_core::settings::Uri;
use dormouse_core::settings::keys::{Field, Key};
use dormouse_core::settings::text::cut;

/// Puts the value where the key says, or leaves the configuration as it was.
pub(super) fn read(key: &Key, value: &Value, config: &mut Config) -> Result<(), Vec<Wrong>> {
    let must = || Wrong::whole(format!("must be {}", key.expected()));
    match &key.field {
        Field::Uris(at) => {
            let uris = texts(value, split_uris).ok_or_else(must)?;
            if uris.is_empty() {
                return Err(must());
            }
            *at(config) = uris.into_iter().map(Uri::new).collect();
        }
        Field::MaybeUri(at, _) => {
            *at(config) = maybe(text(value).ok_or_else(must)?).map(Uri::new);
        }
        Field::MaybeFile(at) | Field::MaybePath(at) => {
            *at(config) = maybe(text(value).ok_or_else(must)?).map(Into::into);
        }
        Field::MaybeAddress(at) => {
            let address = maybe(text(value).ok_or_else(must)?);
            *at(config) = address.map(|a| a.parse()).transpose().map_err(|_| must())?;
        }
        Field::Duration(at, limits) => {
            let duration = duration(value).map_err(|problem| match &value.kind {
                ValueKind::String(_) | ValueKind::I64(_) | ValueKind::Float(_) => {
                    Wrong::whole(problem)
                }
                _ => must(),
            })?;
            if let Some(problem) = limits.problem(key, duration) {
                return Err(Wrong::whole(problem));
            }
            *at(config) = duration;
        }
        Field::Whole { set, min, max, .. } => {
            let number =
                number(value).filter(|number| (min..=max).contains(&number)).ok_or_else(must)?;
            set(config, number);
        }
        Field::Ratio(at, min, max) => {
            *at(config) =
                ratio(value).filter(|number| (min..=max).contains(&number)).ok_or_else(must)?;
        }
        Field::Switch(at) => {
            *at(config) = match &value.kind {
                ValueKind::Boolean(switch) => *switch,
                ValueKind::String(text) => text.trim().parse().map_err(|_| must())?,
                _ => return Err(must()),
            };
        }
        Field::Choice { set, of, .. } => {
            let name = text(value).ok_or_else(must)?;
            if !of.contains(&name) {
                return Err(must());
            }
            set(config, name);
        }
        Field::Text(at, _) => *at(config) = text(value).ok_or_else(must)?.into(),
        Field::Texts(at, _) => {
            *at(config) = texts(value, split_commas).ok_or_else(|| {
                Wrong::whole(format!("must be {}, a list or separated by commas", key.expected()))
            })?;
        }
        Field::DelayExchanges(at) => *at(config) = lists::delay_exchanges(value)?,
        Field::Ladder(at) => *at(config) = lists::read_ladder(value).map_err(Wrong::whole)?,
        Field::Reasons(at) => *at(config) = lists::read_reasons(value).map_err(Wrong::whole)?,
        Field::RetryPolicies(at) => *at(config) = lists::read_policies(value)?,
    }
    Ok(())
}

/// The value as TOML writes it, secrets masked, cut to a readable length.
pub(super) fn shown(key: &Key, value: &Value) -> Option<String> {
    let text = match &value.kind {
        ValueKind::String(text) if key.is_secret() => {
            let uris: Vec<String> =
                split_uris(text).iter().map(|uri| Uri::new(uri).to_string()).collect();
            format!("{:?}", uris.join(","))
        }
        ValueKind::Table(_) | ValueKind::Array(_) | ValueKind::Nil => return None,
        _ if key.is_secret() => return None,
        ValueKind::String(text) => format!("{text:?}"),
        other => other.to_string(),
    };
    Some(cut(&text))
}
