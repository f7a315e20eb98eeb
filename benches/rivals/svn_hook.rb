#!/usr/bin/env ruby
# A post-commit hook of Subversion as they were written in 2012: a shell and a svnlook for each thing, on Debian's ruby-stomp.
require 'stomp'

repo, rev = ARGV
log = `/usr/bin/svnlook log #{repo} -r #{rev}`.strip
author = `/usr/bin/svnlook author #{repo} -r #{rev}`.strip
date = `/usr/bin/svnlook date #{repo} -r #{rev}`.strip
dirs = `/usr/bin/svnlook dirs-changed #{repo} -r #{rev}`.strip
project = dirs.lines.map { |line| line.split('/trunk').first.split('/').last }.last
name = File.basename(repo)
login, passcode, port = ENV.values_at('BENCH_LOGIN', 'BENCH_PASSCODE', 'BENCH_PORT')
client = Stomp::Client.new(hosts: [{ login: login, passcode: passcode, host: '127.0.0.1', port: port.to_i }], reliable: true)
body = "repo: #{name}\nrevname: #{rev}\nAuthor: #{author}\nDate: #{date}\nProject: #{project}\n\nDirs:\n#{dirs}\n\n#{log}\n"
client.publish('/topic/bench', body, 'subject' => "[#{name}] #{rev} ", 'persistent' => true)
client.publish('/topic/bench.events', "[#{name}] #{rev} ", 'subject' => 'Talking to eventbot')
client.close
