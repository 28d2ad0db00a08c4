<?php
// Publishes every row of the conformance table with php-amqplib: once as it is, once delayed. Its tables
// have types for floats, but 3.5 cannot write them.
require 'vendor/autoload.php';

use PhpAmqpLib\Connection\AMQPStreamConnection;
use PhpAmqpLib\Message\AMQPMessage;
use PhpAmqpLib\Wire\AMQPAbstractCollection as Type;
use PhpAmqpLib\Wire\AMQPArray;
use PhpAmqpLib\Wire\AMQPDecimal;
use PhpAmqpLib\Wire\AMQPTable;

$rows = [
    'absent' => null,
    'nothing' => [Type::T_VOID, null],
    'zero' => [Type::T_INT_LONG, 0],
    'negative' => [Type::T_INT_LONG, -5],
    'int8' => [Type::T_INT_SHORTSHORT, 100],
    'uint8' => [Type::T_INT_SHORTSHORT_U, 200],
    'int16' => [Type::T_INT_SHORT, 300],
    'uint16' => [Type::T_INT_SHORT_U, 300],
    'int32' => [Type::T_INT_LONG, 300],
    'uint32' => [Type::T_INT_LONG_U, 300],
    'int64' => [Type::T_INT_LONGLONG, 300],
    'decimal' => [Type::T_DECIMAL, new AMQPDecimal(3009, 1)],
    'string' => [Type::T_STRING_LONG, '300'],
    'string with a sign' => [Type::T_STRING_LONG, '+300'],
    'negative string' => [Type::T_STRING_LONG, '-5'],
    'bytes' => [Type::T_BYTES, '300'],
    '49.7 days' => [Type::T_INT_LONGLONG, 4294967295],
    'beyond 49.7 days' => [Type::T_INT_LONGLONG, 4294967296],
    'too long' => [Type::T_INT_LONGLONG, 10000000000],
    'words' => [Type::T_STRING_LONG, '5s'],
    'fraction' => [Type::T_STRING_LONG, '500.5'],
    'empty' => [Type::T_STRING_LONG, ''],
    'boolean' => [Type::T_BOOL, true],
    'timestamp' => [Type::T_TIMESTAMP, 1893456000],
    'table' => [Type::T_TABLE, new AMQPTable()],
    'array' => [Type::T_ARRAY, new AMQPArray()],
];

$at = parse_url(getenv('DORMOUSE_URI'));
$vhost = urldecode(substr($at['path'], 1));
$connection = new AMQPStreamConnection($at['host'], $at['port'], $at['user'], $at['pass'], $vhost);
$channel = $connection->channel();
$channel->confirm_select();
foreach ($rows as $row => $delay) {
    $headers = new AMQPTable([
        'row' => $row,
        'tenant' => 'Zürich',
        'flag' => true,
        'nested' => ['list' => [1, 'two', ['three' => 3]], 'table' => ['deep' => ['deeper' => 'yes']]],
    ]);
    $headers->set('bytes', "\x00\x9f\x92\x96", Type::T_BYTES);
    if ($delay) {
        $headers->set('x-delay', $delay[1], $delay[0]);
    }
    $message = new AMQPMessage(implode(array_map('chr', range(0, 255))), [
        'content_type' => 'application/json',
        'content_encoding' => 'gzip',
        'application_headers' => $headers,
        'delivery_mode' => 1,
        'priority' => 7,
        'correlation_id' => 'correlation',
        'reply_to' => 'reply',
        'expiration' => '600000',
        'message_id' => 'message',
        'timestamp' => 1700000000,
        'type' => 'kind',
        'user_id' => $at['user'],
        'app_id' => 'app',
    ]);
    $channel->basic_publish($message, '', 'conform.sent');
    $channel->basic_publish($message, 'dormouse.delay', 'conform');
}
$channel->wait_for_pending_acks(30);
$connection->close();
