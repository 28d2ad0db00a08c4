//! Everything that speaks to RabbitMQ: AMQP 0-9-1, what AMQP 1.0 is needed for, and the management API.
//!
//! | | |
//! |---|---|
//! | [`amqp`] | declare, publish with confirms, consume with manual acks |
//! | [`management`] | what the management API tells of a broker |
//! | [`precise_timer`] | wakes a task to the tenth of a millisecond |

use dormouse_core::settings as config;
use dormouse_core::{message, schedule, topology};

pub mod amqp;
#[cfg(feature = "management")]
pub mod management;
pub mod precise_timer;
