//! The console: a page for people. What sleeps, when it comes, what went wrong, and what can be done about it.
//!
//! Rendered here, complete without a script; everything comes from this program. It stands over what the HTTP API has: one
//! look at RabbitMQ for all who watch, the users' connections, and the index.
//!
//! | | in → out |
//! |---|---|
//! | [`routes`] | which path leads where; what acts has none where the console only shows |
//! | [`origin`], [`headers`] | a request from elsewhere → refused; a page → what a browser may do with it |
//! | [`sessions`], [`who`], `login` | a cookie → a user of RabbitMQ's, and what that one may |
//! | [`proxy`] | the word of a proxy that logs people in → who somebody is, and what that one may |
//! | [`places`] | the pages of the navigation, a line each |
//! | [`words`], [`layout`], [`trouble`] | values → text that people read, in the frame of every page |
//! | `sky`, `cascade`, `list`, `message`, `dlq`, … | the pages |
//! | `act` | what a person does, as the user, with a line in the log |

mod act;
mod assets;
mod cascade;
mod dlq;
mod doctor;
mod endpoints;
mod form;
mod headers;
mod help;
mod lateness;
mod layout;
mod list;
mod live;
mod login;
mod message;
mod origin;
mod places;
mod preferences;
mod proxy;
mod retries;
mod routes;
mod schedules;
mod sessions;
mod site;
mod sky;
mod theme;
mod timeline;
mod topology;
mod trouble;
mod visitor;
mod who;
mod words;
mod workers;

pub use places::PLACES;
pub use proxy::ProxyLoginError;
pub use routes::{Paths, paths, router};
