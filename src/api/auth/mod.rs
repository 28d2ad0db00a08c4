//! Who asks, and what that one may: a user of RabbitMQ's, by whose own rights all is done, or a token of ours, which lends
//! those of the service within its scopes and targets.

pub mod caller;
pub mod credentials;
pub mod live;
pub mod pool;
pub mod slow;
pub mod tokens;
