<?php
require 'vendor/autoload.php';

use PhpAmqpLib\Connection\AMQPStreamConnection;

function handle(string $key, string $body, int $retries): void
{
    if ($retries < 2) { // as if it were down for a while
        throw new RuntimeException('the mail server does not answer');
    }
    echo "$key: '$body' done after $retries retries\n";
}

$at = parse_url(getenv('DORMOUSE_URI'));
$vhost = rawurldecode(ltrim($at['path'] ?? '', '/')) ?: '/';
$connection = new AMQPStreamConnection($at['host'], $at['port'], $at['user'], $at['pass'], $vhost);
$channel = $connection->channel();
$channel->basic_qos(0, 10, false);
// docs: begin
$channel->basic_consume($argv[1], '', false, false, false, false, function ($message) {
    $headers = $message->has('application_headers') ? $message->get('application_headers')->getNativeData() : [];
    $retries = $headers['x-dormouse-retries'] ?? 0;
    try {
        handle($message->getRoutingKey(), $message->getBody(), $retries);
        $message->ack();
    } catch (Exception $problem) {
        echo "{$message->getRoutingKey()}: {$problem->getMessage()}; retry ", $retries + 1, " comes later\n";
        $message->reject(false);
    }
});
// docs: end
while ($channel->is_consuming()) {
    $channel->wait();
}
