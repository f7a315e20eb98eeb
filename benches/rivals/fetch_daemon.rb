#!/usr/bin/env ruby
# A fetch daemon as they were written in 2012: every event of the repository is two fetches, one after another.
#   fetch_daemon.rb REPO CLONE
require 'stomp'

repo, clone = ARGV
login, passcode, port = ENV.values_at('BENCH_LOGIN', 'BENCH_PASSCODE', 'BENCH_PORT')
client = Stomp::Client.new(hosts: [{ login: login, passcode: passcode, host: '127.0.0.1', port: port.to_i }], reliable: true)
client.subscribe('/topic/failcake.git.commits') do |message|
  name = message.body[/^repo: (.*)$/, 1]
  next unless name == repo
  system('git', '--git-dir', clone, 'fetch', '--quiet', '--all')
  system('git', '--git-dir', clone, 'fetch', '--quiet', '--tags')
end
STDOUT.puts 'ready'
STDOUT.flush
client.join
