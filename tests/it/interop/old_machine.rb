# What the daemons of 2012 do with a message, and what their emitters send. Arguments: URL, then
#   listen COMMITS EVENTS COUNT       prints a line of JSON for each of COUNT messages, once "ready" was printed
#   text|json TOPIC REPO OLD NEW REF  sends a push as the older or the newer emitter does
#   access TOPIC SITE USER PASSWORD   sends a login as the old page does
require 'json'
require 'stomp'
require 'timeout'

OPTIONS = 'initialReconnectDelay=0.01&randomize=false&useExponentialBackOff=true&MaxReconnectDelay=30&' \
          'BackOffMultiplier=2&MaxReconnectAttempts=0&Backup=false&Timeout=-1'

def client(url)
  Stomp::Client.new("failover://(#{url})?#{OPTIONS}")
end

# Both generations: each line is split at its first colon, the subject at spaces. The older one acts on every line
# whose key is repo; the newer one parses every line whose key is JSON, and dies of one that is none.
def read(message)
  found = { 'topic' => message.headers['destination'], 'subject' => message.headers['subject'], 'repo' => [], 'json' => [] }
  _, ref, commit = message.headers['subject'].split(' ', 3)
  found['branch'] = ref.sub('refs/heads/', '') if ref.start_with?('refs/heads/')
  found['commit'] = commit
  message.body.lines do |line|
    key, value = line.split(':', 2)
    found['repo'] << value.strip if key == 'repo'
    found[key] = value.strip if %w[oldrev newrev refname].include?(key)
    found['json'] << JSON.parse(value.strip) if key == 'JSON'
  end
  found['binary'] = message.headers.key?('content-length')
  found['text'] = message.body
  found
end

def listen(client, commits, events, count)
  seen = Queue.new
  [commits, events].each do |topic|
    client.subscribe("/topic/#{topic}") { |message| seen << message unless message.body == "\n" }
    # Its receipt says that the subscription before it is there.
    known = Queue.new
    client.publish("/topic/#{topic}", "\n") { known << true }
    known.pop
  end
  puts 'ready'
  count.times { puts JSON.generate(read(seen.pop)) }
end

def send_push(client, form, topic, repo, old, new, ref)
  body = "repo: #{repo}\noldrev: #{old}\nnewrev: #{new}\nrefname: #{ref}\n" \
         " #{new}\nAuthor: Ada <ada@example.org>\nDate: 2012-02-29 12:00:00 +0000\n\nrepo: a message that lies\n\n"
  if form == 'json'
    push = { 'before' => old, 'after' => new, 'ref' => ref, 'user_name' => 'Ada', 'repository' => { 'name' => repo } }
    body += "JSON: #{JSON.generate(push)}\n"
  end
  publish(client, topic, body, "[#{repo}] #{ref} #{new}")
end

def send_login(client, topic, site, user, password)
  body = "Site: #{site}\nUser: #{user}\nPassword: #{password}\n"
  publish(client, topic, body, "Allow access to #{site} for #{user}")
end

def publish(client, topic, body, subject)
  known = Queue.new
  client.publish("/topic/#{topic}", body, subject: subject) { known << true }
  known.pop
end

$stdout.sync = true
Timeout.timeout(90) do
  url, verb, *words = ARGV
  connected = client(url)
  if verb == 'listen'
    listen(connected, words[0], words[1], words[2].to_i)
  elsif verb == 'access'
    send_login(connected, *words)
  else
    send_push(connected, verb, *words)
  end
  connected.close
end
