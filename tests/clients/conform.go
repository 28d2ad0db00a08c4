// Publishes every row of the conformance table with amqp091-go: once as it is, once delayed.
package main

import (
	"log"
	"net/url"
	"os"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

var absent = struct{}{}

var rows = map[string]interface{}{
	"absent":             absent,
	"nothing":            nil,
	"zero":               0,
	"negative":           -5,
	"int8":               int8(100),
	"uint8":              byte(200),
	"int16":              int16(300),
	"int32":              300,
	"int64":              int64(300),
	"float":              float32(300.9),
	"double":             300.9,
	"decimal":            amqp.Decimal{Scale: 1, Value: 3009},
	"string":             "300",
	"string with a sign": "+300",
	"negative string":    "-5",
	"bytes":              []byte("300"),
	"49.7 days":          int64(4294967295),
	"beyond 49.7 days":   int64(4294967296),
	"too long":           int64(10000000000),
	"words":              "5s",
	"fraction":           "500.5",
	"empty":              "",
	"boolean":            true,
	"timestamp":          time.Unix(1893456000, 0),
	"table":              amqp.Table{},
	"array":              []interface{}{},
}

func main() {
	uri := os.Getenv("DORMOUSE_URI")
	at, err := url.Parse(uri)
	must(err)
	connection, err := amqp.Dial(uri)
	must(err)
	channel, err := connection.Channel()
	must(err)
	must(channel.Confirm(false))
	// not a deferred confirm: up to 1.5.0 one that comes at once is lost, and waited for without end
	confirms := channel.NotifyPublish(make(chan amqp.Confirmation, 1))
	body := make([]byte, 256)
	for byte := range body {
		body[byte] = uint8(byte)
	}
	for row, delay := range rows {
		message := amqp.Publishing{
			Headers: amqp.Table{
				"row":    row,
				"tenant": "Zürich",
				"flag":   true,
				"bytes":  []byte{0, 159, 146, 150},
				"nested": amqp.Table{
					"list":  []interface{}{1, "two", amqp.Table{"three": 3}},
					"table": amqp.Table{"deep": amqp.Table{"deeper": "yes"}},
				},
			},
			ContentType:     "application/json",
			ContentEncoding: "gzip",
			DeliveryMode:    amqp.Transient,
			Priority:        7,
			CorrelationId:   "correlation",
			ReplyTo:         "reply",
			Expiration:      "600000",
			MessageId:       "message",
			Timestamp:       time.Unix(1700000000, 0),
			Type:            "kind",
			UserId:          at.User.Username(),
			AppId:           "app",
			Body:            body,
		}
		if delay != absent {
			message.Headers["x-delay"] = delay
		}
		for _, to := range [][2]string{{"", "conform.sent"}, {"dormouse.delay", "conform"}} {
			must(channel.Publish(to[0], to[1], true, false, message))
			if confirm := <-confirms; !confirm.Ack {
				log.Fatal("nacked: ", row)
			}
		}
	}
	must(connection.Close())
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
