// Publishes every row of the conformance table with amqp-client: once as it is, once delayed.

import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.ConnectionFactory;
import java.math.BigDecimal;
import java.util.Date;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

class Conform {
    static final Object ABSENT = new Object();

    static Map<String, Object> rows() {
        var rows = new LinkedHashMap<String, Object>();
        rows.put("absent", ABSENT);
        rows.put("nothing", null);
        rows.put("zero", 0);
        rows.put("negative", -5);
        rows.put("int8", (byte) 100);
        rows.put("int16", (short) 300);
        rows.put("int32", 300);
        rows.put("int64", 300L);
        rows.put("float", 300.9f);
        rows.put("double", 300.9);
        rows.put("decimal", new BigDecimal("300.9"));
        rows.put("string", "300");
        rows.put("string with a sign", "+300");
        rows.put("negative string", "-5");
        rows.put("bytes", "300".getBytes());
        rows.put("49.7 days", 4294967295L);
        rows.put("beyond 49.7 days", 4294967296L);
        rows.put("too long", 10000000000L);
        rows.put("words", "5s");
        rows.put("fraction", "500.5");
        rows.put("empty", "");
        rows.put("boolean", true);
        rows.put("timestamp", new Date(1893456000000L));
        rows.put("table", Map.of());
        rows.put("array", List.of());
        return rows;
    }

    public static void main(String[] arguments) throws Exception {
        var factory = new ConnectionFactory();
        factory.setUri(System.getenv("DORMOUSE_URI"));
        var body = new byte[256];
        for (int value = 0; value < body.length; value++) {
            body[value] = (byte) value;
        }
        try (var connection = factory.newConnection()) {
            var channel = connection.createChannel();
            channel.confirmSelect();
            for (var row : rows().entrySet()) {
                var headers = new HashMap<String, Object>();
                headers.put("row", row.getKey());
                headers.put("tenant", "Zürich");
                headers.put("flag", true);
                headers.put("bytes", new byte[] {0, (byte) 159, (byte) 146, (byte) 150});
                headers.put("nested", Map.of(
                    "list", List.of(1, "two", Map.of("three", 3)),
                    "table", Map.of("deep", Map.of("deeper", "yes"))));
                if (row.getValue() != ABSENT) {
                    headers.put("x-delay", row.getValue());
                }
                var properties = new AMQP.BasicProperties.Builder()
                    .contentType("application/json")
                    .contentEncoding("gzip")
                    .headers(headers)
                    .deliveryMode(1)
                    .priority(7)
                    .correlationId("correlation")
                    .replyTo("reply")
                    .expiration("600000")
                    .messageId("message")
                    .timestamp(new Date(1700000000000L))
                    .type("kind")
                    .userId(factory.getUsername())
                    .appId("app")
                    .build();
                channel.basicPublish("", "conform.sent", true, properties, body);
                channel.basicPublish("dormouse.delay", "conform", true, properties, body);
            }
            channel.waitForConfirmsOrDie();
        }
    }
}
