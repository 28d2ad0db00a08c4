//! Publishes one message with one header, as any AMQP client can: `cargo run --example publish`.

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection, ConnectionProperties};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let uri = std::env::var("DORMOUSE_URI")?;
    let connection = Connection::connect(&uri, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    // readme: begin
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let mut headers = FieldTable::default();
    headers.insert("x-delay".into(), 3_000.into());
    let in_3_seconds = BasicProperties::default().with_headers(headers);
    let (exchange, key) = ("dormouse.delay".into(), "mailbox".into());
    let options = BasicPublishOptions::default();
    channel.basic_publish(exchange, key, options, b"good morning", in_3_seconds).await?.await?;
    // readme: end
    connection.close(200, "done".into()).await?;
    Ok(())
}
