# What the stomp gem can ask of a broker. Arguments: port, protocol version. A line per thing that worked.
require 'stomp'
require 'timeout'

$port, $version = ARGV[0].to_i, ARGV[1]

def connect(more = {})
  headers = $version == '1.0' ? {} : { 'accept-version' => $version, 'host' => 'anything' }
  connection = Stomp::Connection.new(
    hosts: [{ login: 'any', passcode: 'thing', host: '127.0.0.1', port: $port }],
    reliable: false, connect_headers: headers.merge(more)
  )
  raise "protocol #{connection.protocol}" unless connection.protocol == $version
  raise connection.connection_frame.to_s unless connection.connection_frame.command == 'CONNECTED'
  connection
end

def expect(what, got, wanted)
  raise "#{what}: got #{got.inspect}, wanted #{wanted.inspect}" unless got == wanted
end

def receipt(connection, id)
  frame = connection.receive
  expect('receipt', [frame.command, frame.headers['receipt-id']], ['RECEIPT', id])
end

def ack_id(message)
  $version == '1.2' ? message.headers['ack'] : message.headers['message-id']
end

Timeout.timeout(60) do
  connection = connect
  puts 'login'

  connection.subscribe('/topic/ruby', id: 'one', receipt: 'subscribed')
  receipt(connection, 'subscribed')
  connection.publish('/topic/ruby', "body\n", 'subject' => '[spog] refs/heads/master')
  message = connection.receive
  expect('body', message.body, "body\n")
  expect('subject', message.headers['subject'], '[spog] refs/heads/master')
  connection.publish('/topic/ruby', "a\0b")
  expect('nul', connection.receive.body, "a\0b")
  puts 'topic'

  if $version != '1.0'
    # Not a backslash before a c: the gem decodes one escape after the other and makes a colon of it.
    strange = "a:b\\x\nd"
    connection.publish('/topic/ruby', '', 'k:1' => strange)
    expect('escapes', connection.receive.headers['k:1'], strange)
  end
  puts 'escapes'

  connection.publish('/queue/ruby', 'work', receipt: 'sent')
  receipt(connection, 'sent')
  other = connect
  other.subscribe('/queue/ruby', id: 'two', ack: 'client')
  expect('queue', other.receive.body, 'work')
  other.disconnect(receipt: 'bye')
  other = connect
  other.subscribe('/queue/ruby', id: 'two', ack: 'client')
  message = other.receive
  expect('redelivered', [message.body, message.headers['redelivered']], %w[work true])
  other.ack(ack_id(message), subscription: 'two', receipt: 'acked')
  receipt(other, 'acked')
  puts 'ack'

  other.begin('t1')
  other.publish('/queue/ruby', 'aborted', transaction: 't1')
  other.abort('t1')
  other.begin('t2')
  other.publish('/queue/ruby', 'committed', transaction: 't2')
  other.commit('t2')
  message = other.receive
  expect('transaction', message.body, 'committed')
  other.ack(ack_id(message), subscription: 'two')
  other.disconnect(receipt: 'bye')
  puts 'transaction'

  durable = { 'activemq.subscriptionName' => 'ruby', 'id' => 'd' }
  reader = connect('client-id' => 'ruby')
  reader.subscribe('/topic/durable', durable.merge('receipt' => 'there'))
  receipt(reader, 'there')
  reader.disconnect(receipt: 'bye')
  connection.publish('/topic/durable', 'missed', receipt: 'kept')
  receipt(connection, 'kept')
  reader = connect('client-id' => 'ruby')
  reader.subscribe('/topic/durable', durable)
  expect('durable', reader.receive.body, 'missed')
  reader.unsubscribe('/topic/durable', durable)
  reader.disconnect(receipt: 'bye')
  puts 'durable'

  if $version != '1.0'
    beating = connect('heart-beat' => '500,500')
    sleep 2.5
    raise 'no heart-beat came' unless beating.hbrecv_count > 1
    beating.publish('/topic/ruby', 'alive', receipt: 'alive')
    receipt(beating, 'alive')
    beating.disconnect(receipt: 'bye')
    expect('alive', connection.receive.body, 'alive')
  end
  puts 'heart-beat'

  connection.unsubscribe('/topic/ruby', id: 'one')
  connection.disconnect(receipt: 'bye')
  raise 'no receipt for DISCONNECT' unless connection.disconnect_receipt.headers['receipt-id'] == 'bye'
  puts 'goodbye'

  broken = connect
  broken.subscribe('/topic/ruby', id: 'x', selector: "a = 'b'", receipt: 'r')
  error = broken.receive
  expect('error', [error.command, error.headers['receipt-id']], %w[ERROR r])
  raise error.body unless error.body.include?('selector')
  puts 'error'
end
