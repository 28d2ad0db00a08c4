//! What can go wrong between us and the management API. No variant holds a password.

use std::path::PathBuf;

/// Why a request to the management API brought nothing. `request` reads like `GET /api/queues/%2F`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManagementError {
    #[error(
        "the management URI is not usable: {reason}. Write it as http://user:password@host:15672, \
         with special characters in user and password percent-encoded"
    )]
    InvalidUri { reason: String },
    #[error(
        "cannot use the CA file {}: {reason}. It has to hold PEM certificates (BEGIN CERTIFICATE)",
        path.display()
    )]
    CaFile { path: PathBuf, reason: String },
    #[error(
        "the management API at {address} cannot be reached: {reason}. Check host and port (without \
         --management-uri they are guessed from the AMQP address), that the rabbitmq_management plugin \
         is enabled there, http or https, and for https the CA file"
    )]
    Unreachable { address: String, reason: String },
    #[error("{address} refused user {user:?} for {request} ({reason}): {remedy}")]
    Unauthorised {
        address: String,
        user: String,
        request: String,
        reason: String,
        remedy: &'static str,
    },
    /// RabbitMQ 4.3 answers so, too, for a virtual host on which the user has no permission.
    #[error(
        "{address} knows nothing at {request}: check the names and the virtual host, and that user \
         {user:?} has permissions on it (rabbitmqctl list_permissions)"
    )]
    NotFound { address: String, user: String, request: String },
    #[error("{address} refused {request}: {reason}. Correct the values and send it again")]
    Refused { address: String, request: String, reason: String },
    #[error(
        "the answer of {address} to {request} is not what RabbitMQ 3.10 to 4.3 give: {reason}. Check \
         that RabbitMQ answers there, not a proxy, and its log; a newer RabbitMQ may need a newer \
         Dormouse"
    )]
    UnexpectedAnswer { address: String, request: String, reason: String },
}

/// What the operator can do about a refusal, from RabbitMQ's own reason. The words are the same on
/// 3.10, 4.0 and 4.3, except for wrong credentials, which are the last arm.
pub(super) fn remedy(reason: &str) -> &'static str {
    let says = |words: &str| reason.contains(words);
    if says("administrator user") {
        "grant it the tag `administrator` (rabbitmqctl set_user_tags) or ask as another user"
    } else if says("monitor user") {
        "grant it the tag `monitoring` (rabbitmqctl set_user_tags)"
    } else if says("management user") {
        "grant it the tag `monitoring`, or at least `management` (rabbitmqctl set_user_tags)"
    } else if says("access object") {
        "grant it the tag `policymaker` (rabbitmqctl set_user_tags)"
    } else if says("virtual host") || says("vhost") {
        "grant it permissions on the virtual host (rabbitmqctl set_permissions)"
    } else if says("Access refused") || says("ACCESS_REFUSED") {
        "grant it `configure` on that name in the virtual host (rabbitmqctl set_permissions)"
    } else if says("localhost") {
        "`guest` may log in from the broker's own host only; make a user with the tag `monitoring`"
    } else {
        "check user name and password; the user needs the tag `monitoring`, or at least `management`"
    }
}
