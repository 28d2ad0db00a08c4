//! What can go wrong between us and the management API. No variant holds a password.

use std::path::PathBuf;

/// Why a request to the management API brought nothing. `request` reads like `GET /api/queues/%2F`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManagementError {
    /// It cannot be asked at all.
    #[error(
        "the management URI is not usable: {reason}. Write it as http://user:password@host:15672, \
         with special characters in user and password percent-encoded"
    )]
    InvalidUri {
        /// What is wrong with it.
        reason: String,
    },
    /// It cannot be trusted.
    #[error(
        "cannot use the CA file {}: {reason}. It has to hold PEM certificates (BEGIN CERTIFICATE)",
        path.display()
    )]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No answer within 15 s, or no HTTP.
    #[error(
        "the management API at {address} cannot be reached: {reason}. Check host and port (without \
         --management-uri they are guessed from the AMQP address), that the rabbitmq_management plugin \
         is enabled there, http or https, and for https the CA file"
    )]
    Unreachable {
        /// Without user and password.
        address: String,
        /// What the network says.
        reason: String,
    },
    /// 401 or 403, by the user's tags or permissions.
    #[error("{address} refused user {user:?} for {request} ({reason}): {remedy}")]
    Unauthorised {
        /// Without user and password.
        address: String,
        /// Who asked.
        user: String,
        /// Method and path.
        request: String,
        /// RabbitMQ's words.
        reason: String,
        /// What to grant.
        remedy: &'static str,
    },
    /// RabbitMQ 4.3 answers so, too, for a virtual host on which the user has no permission.
    #[error(
        "{address} knows nothing at {request}: check the names and the virtual host, and that user \
         {user:?} has permissions on it (rabbitmqctl list_permissions)"
    )]
    NotFound {
        /// Without user and password.
        address: String,
        /// Who asked.
        user: String,
        /// Method and path.
        request: String,
    },
    /// 400: the values are wrong.
    #[error("{address} refused {request}: {reason}. Correct the values and send it again")]
    Refused {
        /// Without user and password.
        address: String,
        /// Method and path.
        request: String,
        /// RabbitMQ's words.
        reason: String,
    },
    /// A proxy, another program, or another RabbitMQ.
    #[error(
        "the answer of {address} to {request} is not what RabbitMQ 3.10 to 4.3 give: {reason}. Check \
         that RabbitMQ answers there, not a proxy, and its log; a newer RabbitMQ may need a newer \
         Dormouse"
    )]
    UnexpectedAnswer {
        /// Without user and password.
        address: String,
        /// Method and path.
        request: String,
        /// What is unexpected.
        reason: String,
    },
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
