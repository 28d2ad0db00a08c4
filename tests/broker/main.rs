//! What needs a real broker. `dormouse-lab dev --no-worker -- cargo nextest run --test broker` gives one;
//! [`amqp10`], [`client_commands`], [`client_faults`], [`client_refused`], [`commands_stand`], [`faults`],
//! [`redrive`], [`refused`], [`tls`] and [`unreadable`] start brokers of their own, which they can kill.

#![allow(
    clippy::disallowed_methods,
    reason = "a test ends what it starts, and steps no clock but the worker's"
)]

mod all_roles;
mod amqp10;
mod api;
mod api_commands;
mod api_endpoints;
mod api_faults;
mod api_fuzz;
mod api_support;
mod api_who;
mod authority;
mod channels;
mod client;
mod client_batches;
mod client_commands;
mod client_examples;
mod client_faults;
mod client_flow;
mod client_kills;
mod client_refused;
mod client_retry;
mod client_schedule;
mod client_stops;
mod client_trace;
mod clients;
mod commands;
mod commands_stand;
mod conformance;
mod console;
mod console_acts;
mod console_browser;
mod console_calls;
mod console_down;
mod console_support;
mod control;
mod delivery;
mod destroy;
mod dlq;
mod doors;
mod drain;
mod extremes;
mod faults;
mod hold;
mod hostile;
mod hostile_targets;
mod index;
mod index_stand;
mod index_workers;
mod leader;
mod ledger;
mod ledger_faults;
mod lost_log;
mod once;
mod once_consumer;
mod operator;
mod privileges;
mod process;
mod raw_client;
mod redrive;
mod refused;
mod rejecting;
mod retry;
mod retry_enable;
mod retry_routes;
mod roles_process;
mod run;
mod run_now;
mod schedules;
mod schedules_http;
mod secrets;
mod settings;
mod stores;
mod support;
mod tls;
mod topology;
mod unreadable;
mod webhook_clients;
mod webhook_receiver;
mod webhooks;
