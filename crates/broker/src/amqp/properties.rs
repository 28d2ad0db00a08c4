//! Our [`Properties`] to and from the client library's.

use lapin::BasicProperties;

use crate::message::{FieldTable, Headers, Properties};

/// With the headers that `keep` says yes to: a copy of the rest would be thrown away.
pub fn from_client(properties: &BasicProperties, keep: fn(&str) -> bool) -> Properties {
    let kept = |table: &FieldTable| {
        let fields = table.inner().iter().filter(|(name, _)| keep(name.as_str()));
        fields.map(|(name, value)| (name.clone(), value.clone())).collect::<Headers>()
    };
    Properties {
        content_type: properties.content_type().clone(),
        content_encoding: properties.content_encoding().clone(),
        headers: properties.headers().as_ref().map(kept).unwrap_or_default(),
        delivery_mode: *properties.delivery_mode(),
        priority: *properties.priority(),
        correlation_id: properties.correlation_id().clone(),
        reply_to: properties.reply_to().clone(),
        expiration: properties.expiration().clone(),
        message_id: properties.message_id().clone(),
        timestamp: *properties.timestamp(),
        kind: properties.kind().clone(),
        user_id: properties.user_id().clone(),
        app_id: properties.app_id().clone(),
        cluster_id: properties.cluster_id().clone(),
    }
}

/// What is absent stays absent, and an empty header table too.
pub fn to_client(properties: Properties) -> BasicProperties {
    let Properties {
        content_type,
        content_encoding,
        headers,
        delivery_mode,
        priority,
        correlation_id,
        reply_to,
        expiration,
        message_id,
        timestamp,
        kind,
        user_id,
        app_id,
        cluster_id,
    } = properties;
    let mut client = BasicProperties::default();
    // the builder only adds: what is absent must stay absent
    macro_rules! set {
        ($($value:ident => $with:ident),*) => {
            $(if let Some(value) = $value { client = client.$with(value); })*
        };
    }
    let headers = (!headers.is_empty()).then(|| <_>::from(headers as Headers));
    set!(
        content_type => with_content_type,
        content_encoding => with_content_encoding,
        headers => with_headers,
        delivery_mode => with_delivery_mode,
        priority => with_priority,
        correlation_id => with_correlation_id,
        reply_to => with_reply_to,
        expiration => with_expiration,
        message_id => with_message_id,
        timestamp => with_timestamp,
        kind => with_type,
        user_id => with_user_id,
        app_id => with_app_id,
        cluster_id => with_cluster_id
    );
    client
}
