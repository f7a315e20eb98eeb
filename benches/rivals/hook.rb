#!/usr/bin/env ruby
# A post-receive hook as they were written in 2012, on Debian's ruby-stomp and ruby-git: one connection per ref.
require 'git'
require 'stomp'

ARGF.each_line do |line|
  old, new, ref = line.split(' ')
  git = Git.bare(Dir.pwd)
  repo = File.basename(Dir.pwd).sub(/\.git$/, '')
  log = git.log(1).object(new).map { |c| "#{c.sha}\n#{c.author.name}\n#{c.message}\n" }.join
  login, passcode, port = ENV.values_at('BENCH_LOGIN', 'BENCH_PASSCODE', 'BENCH_PORT')
  client = Stomp::Client.new(hosts: [{ login: login, passcode: passcode, host: '127.0.0.1', port: port.to_i }], reliable: true)
  body = "repo: #{repo}\noldrev: #{old}\nnewrev: #{new}\nrefname: #{ref}\n#{log}"
  client.publish('/topic/bench', body, 'subject' => "[#{repo}] #{ref} #{new}", 'persistent' => true)
  client.publish('/topic/bench.events', "[#{repo}] #{ref} #{new}", 'subject' => 'Talking to eventbot')
  client.close
end
