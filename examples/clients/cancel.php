<?php
require 'vendor/autoload.php';

use PhpAmqpLib\Connection\AMQPStreamConnection;
use PhpAmqpLib\Message\AMQPMessage;
use PhpAmqpLib\Wire\AMQPTable;

$at = parse_url(getenv('DORMOUSE_URI'));
$vhost = rawurldecode(ltrim($at['path'] ?? '', '/')) ?: '/';
$connection = new AMQPStreamConnection($at['host'], $at['port'], $at['user'], $at['pass'], $vhost);
$channel = $connection->channel();
// docs: begin
$channel->confirm_select();
$key = ['x-dormouse-key' => 'order-17'];
$in3Seconds = new AMQPTable(['x-delay' => 3000] + $key);
$message = new AMQPMessage('not paid yet', ['application_headers' => $in3Seconds]);
$channel->basic_publish($message, 'dormouse.delay', 'mailbox');
$channel->wait_for_pending_acks();

$replyTo = 'amq.rabbitmq.reply-to';
$answer = null;
$channel->basic_consume($replyTo, '', false, true, false, false, function ($told) use (&$answer) {
    $answer = json_decode($told->getBody(), true);
});
$cancel = new AMQPMessage('', ['application_headers' => new AMQPTable($key), 'reply_to' => $replyTo]);
$channel->basic_publish($cancel, 'dormouse.command', 'cancel');
while ($answer === null) {
    $channel->wait(); // for RabbitMQ's confirm and the answer
}
foreach ($answer['results'] as ['key' => $key, 'outcome' => $outcome]) {
    echo "$key: $outcome\n";
}
// docs: end
$connection->close();
