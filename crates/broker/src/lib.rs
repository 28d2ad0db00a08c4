//! Everything that speaks to RabbitMQ: AMQP 0-9-1, what AMQP 1.0 is needed for, and the management API.
//!
//! | | |
//! |---|---|
//! | [`amqp`] | declare, publish with confirms, consume with manual acks |
//! | [`management`] | what the management API tells of a broker |
//! | [`unreadable`] | moves what the client library cannot read to the DLQ |
//! | [`precise_timer`] | wakes a task to the tenth of a millisecond |

#![warn(missing_docs)]

use dormouse_core::settings as config;
use dormouse_core::{message, schedule, topology};

pub mod amqp;
pub mod kept;
pub mod log;
#[cfg(feature = "management")]
pub mod management;
pub mod precise_timer;
pub mod tell;
pub mod unreadable;
