import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.Delivery;
import java.util.Map;

class Consume {
    static void handle(Delivery message, long retries) {
        if (retries < 2) { // as if it were down for a while
            throw new IllegalStateException("the mail server does not answer");
        }
        var key = message.getEnvelope().getRoutingKey();
        System.out.printf("%s: '%s' done after %d retries%n", key, new String(message.getBody()), retries);
    }

    public static void main(String[] arguments) throws Exception {
        var factory = new ConnectionFactory();
        factory.setUri(System.getenv("DORMOUSE_URI"));
        var channel = factory.newConnection().createChannel();
        channel.basicQos(10);
        // docs: begin
        channel.basicConsume(arguments[0], false, (consumer, message) -> {
            var envelope = message.getEnvelope();
            Map<String, Object> headers = message.getProperties().getHeaders();
            long retries = headers == null ? 0 : ((Number) headers.getOrDefault("x-dormouse-retries", 0)).longValue();
            try {
                handle(message, retries);
                channel.basicAck(envelope.getDeliveryTag(), false);
            } catch (RuntimeException problem) {
                System.out.printf("%s: %s; retry %d comes later%n", envelope.getRoutingKey(), problem.getMessage(), retries + 1);
                channel.basicReject(envelope.getDeliveryTag(), false);
            }
        }, consumer -> {});
        // docs: end
    }
}
