//! Handle each message once, though RabbitMQ may deliver it twice.
//!
//! A [`Store`] marks messages: new, in progress, done. [`once`] asks it, runs the handler for what is
//! new, and marks it done. Choose by what must not happen twice:
//!
//! | store | the mark is | after a crash between effect and mark |
//! |---|---|---|
//! | [`Memory`] | in this process, bounded, expiring | forgotten with the process: handled again |
//! | [`Redis`] (feature `redis`) | beside the effect, under a lease | handled again after the lease |
//! | [`Postgres`] (feature `postgres`) | in the handler's own transaction | there is no between: both or neither |
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! use dormouse_client::once::{Id, Memory, MemorySettings, Once, once};
//!
//! let store = Memory::new(MemorySettings::default());
//! let id = Id::new("01980f4e-order-4711")?;
//!
//! let first = once(&store, &id, async |_| Ok::<_, String>("paid")).await;
//! assert!(matches!(first, Once::Handled("paid")));
//!
//! let again = once(&store, &id, async |_| Ok::<_, String>("paid")).await;
//! assert!(matches!(again, Once::Duplicate));
//! # Ok::<_, dormouse_client::once::InvalidId>(())
//! # }).unwrap();
//! ```

mod error;
mod id;
mod run;
mod store;

mod memory;
#[cfg(feature = "postgres")]
mod pool;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;

pub use error::StoreError;
pub use id::{Id, InvalidId};
pub use memory::{Marks, Memory, MemoryClaim, MemorySettings};
#[cfg(feature = "postgres")]
pub use postgres::{Postgres, PostgresSettings, Transaction};
#[cfg(feature = "redis")]
pub use redis::{Redis, RedisClaim, RedisSettings};
pub use run::{Once, once};
pub use store::{Begin, Store};
