package main

import (
	"errors"
	"fmt"
	"log"
	"os"

	amqp "github.com/rabbitmq/amqp091-go"
)

func handle(message amqp.Delivery, retries int32) error {
	if retries < 2 { // as if it were down for a while
		return errors.New("the mail server does not answer")
	}
	fmt.Printf("%s: '%s' done after %d retries\n", message.RoutingKey, message.Body, retries)
	return nil
}

func main() {
	connection, err := amqp.Dial(os.Getenv("DORMOUSE_URI"))
	must(err)
	channel, err := connection.Channel()
	must(err)
	must(channel.Qos(10, 0, false))
	messages, err := channel.Consume(os.Args[1], "", false, false, false, false, nil)
	must(err)
	// docs: begin
	for message := range messages {
		retries, _ := message.Headers["x-dormouse-retries"].(int32)
		if problem := handle(message, retries); problem != nil {
			fmt.Printf("%s: %v; retry %d comes later\n", message.RoutingKey, problem, retries+1)
			must(message.Reject(false))
		} else {
			must(message.Ack(false))
		}
	}
	// docs: end
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
