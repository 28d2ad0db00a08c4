//! What a broker was seen to hold, as its management API tells it. Whoever asks fills these in.

mod cluster;
mod connection;
mod consumer;
mod policy;
mod queue;
mod snapshot;
mod topology;

pub use cluster::{FeatureFlag, FeatureFlagState, Overview, Permissions, VhostLimits, Whoami};
pub use connection::{CONNECTION_COLUMNS, ConnectionInfo};
pub use consumer::{CONSUMER_COLUMNS, ConsumerInfo};
pub use policy::Policy;
pub use queue::{COLUMNS, QueueInfo};
pub use snapshot::{Inventory, Seen, Visible};
pub use topology::{BindingInfo, DestinationType, ExchangeInfo};
