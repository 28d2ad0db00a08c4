//! Dormouse: delayed delivery for RabbitMQ.

pub mod config;
pub mod message;
pub mod schedule;
pub mod topology;
pub mod amqp;
pub mod management;
pub mod worker;
pub mod http;
pub mod dev;
pub mod cli;
