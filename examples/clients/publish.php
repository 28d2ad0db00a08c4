<?php
require 'vendor/autoload.php';

use PhpAmqpLib\Connection\AMQPStreamConnection;
use PhpAmqpLib\Message\AMQPMessage;
use PhpAmqpLib\Wire\AMQPTable;

$at = parse_url(getenv('DORMOUSE_URI'));
$connection = new AMQPStreamConnection($at['host'], $at['port'], $at['user'], $at['pass']);
$channel = $connection->channel();
// readme: begin
$channel->confirm_select();
$in3Seconds = new AMQPTable(['x-delay' => 3000]);
$message = new AMQPMessage('good morning', ['application_headers' => $in3Seconds]);
$channel->basic_publish($message, 'dormouse.delay', 'mailbox');
$channel->wait_for_pending_acks();
// readme: end
$connection->close();
