package main

import (
	"log"
	"os"

	amqp "github.com/rabbitmq/amqp091-go"
)

func main() {
	connection, err := amqp.Dial(os.Getenv("DORMOUSE_URI"))
	must(err)
	channel, err := connection.Channel()
	must(err)
	must(channel.Confirm(false))
	// readme: begin
	in3Seconds := amqp.Publishing{Headers: amqp.Table{"x-delay": 3000}, Body: []byte("good morning")}
	confirm, err := channel.PublishWithDeferredConfirm("dormouse.delay", "mailbox", false, false, in3Seconds)
	must(err)
	confirm.Wait()
	// readme: end
	must(connection.Close())
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
