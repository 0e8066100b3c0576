#!/usr/bin/ruby
# publish.rb NAME MESSAGE (needs ruby-redis)
require 'redis'

name, message = ARGV
channel = "broadcast:#{name}"
# The gem takes a + for a space.
url = ENV.fetch('WSLOOP_REDIS', 'redis://127.0.0.1:6380').gsub('+', '%2B')
redis = Redis.new(url: url, timeout: 5, reconnect_attempts: 0)
receivers, = redis.pipelined do |pipeline|
  pipeline.publish(channel, message)
  pipeline.setex(channel, 3600, message)
end
puts "receivers: #{receivers}"
