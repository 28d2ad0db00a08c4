import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.ConnectionFactory;
import java.util.Map;

class Publish {
    public static void main(String[] arguments) throws Exception {
        var factory = new ConnectionFactory();
        factory.setUri(System.getenv("DORMOUSE_URI"));
        try (var connection = factory.newConnection()) {
            var channel = connection.createChannel();
            // readme: begin
            channel.confirmSelect();
            var in3Seconds = new AMQP.BasicProperties.Builder().headers(Map.of("x-delay", 3000)).build();
            channel.basicPublish("dormouse.delay", "mailbox", in3Seconds, "good morning".getBytes());
            channel.waitForConfirmsOrDie();
            // readme: end
        }
    }
}
