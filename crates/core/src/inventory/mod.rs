//! What a broker was seen to hold, as its management API tells it. Whoever asks fills these in.

mod channel;
mod cluster;
mod connection;
mod consumer;
mod node;
mod policy;
mod queue;
mod snapshot;
mod topology;

pub use channel::{CHANNEL_COLUMNS, ChannelInfo, PublishedTo};
pub use cluster::{FeatureFlag, FeatureFlagState, Overview, Permissions, VhostLimits, Whoami};
pub use connection::{CONNECTION_COLUMNS, ConnectionInfo};
pub use consumer::{CONSUMER_COLUMNS, ConsumerInfo};
pub use node::{NODE_COLUMNS, NodeInfo};
pub use policy::Policy;
pub use queue::{COLUMNS, QueueInfo};
pub use snapshot::{Inventory, Seen, Visible};
pub use topology::{BindingInfo, DestinationType, ExchangeInfo};
