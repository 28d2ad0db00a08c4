//! What needs no broker: the laws of the pure core, golden files, and the command line's words.

#![allow(clippy::disallowed_methods, reason = "a test ends what it starts")]

mod cli;
mod config;
mod config_faults;
mod deny;
mod docs;
mod fences;
mod fuzz;
mod http;
mod laws_client;
mod laws_decide;
mod laws_flow;
mod laws_frames;
mod laws_once;
mod laws_publish;
mod laws_retry;
mod laws_schedule;
mod laws_tables;
mod laws_worker;
mod management;
mod shape;
mod topology_export;
mod topology_model;
mod topology_order;
mod topology_verify;
