# Calls listed methods, nested and left in every way, and logs by a TracePoint of
# its own what begins and ends: calls.rb DIR LOG TURNS.
require "net/http"
dir, log, turns = ARGV[0], ARGV[1], ARGV[2].to_i
LISTED = %w[File#open File#write File#delete File#rename File#readlink Dir#mkdir Dir#rmdir Dir#glob ENV#[] ENV#fetch ENV#[]= ENV#delete
  Process#clock_gettime Process#pid Object#instance_exec Net::HTTP#proxy_class? Net::HTTP#new Net::HTTP#initialize Net::HTTP#address
  Kernel#require Kernel#system Signal#trap].to_h { |n| [n, true] }
seen = []
main = Thread.current
tp = TracePoint.new(:call, :return, :c_call, :c_return) do |t|
  next unless Thread.current == main

  owner =
    if t.self.equal?(ENV) then "ENV"
    elsif t.method_id == :instance_exec then t.event.start_with?("c_") ? "Object" : nil
    elsif t.defined_class.singleton_class? then (t.self.ancestors.map(&:name).find { |n| LISTED["#{n}##{t.callee_id}"] } if t.self.is_a?(Module))
    else t.defined_class.name
    end
  next if owner == "ENV" && !t.event.start_with?("c_")
  # Not the file that marks, nor what is redefined here later, which it does not see.
  next if !t.event.start_with?("c_") && (t.path.include?("viv-ruby-") || t.path == __FILE__)

  name = "#{owner}##{t.callee_id}"
  seen << (%i[call c_call].include?(t.event) ? "start " : "stop ") + name if LISTED[name]
end
file = "#{dir}/file"
Object.new.instance_exec(1) { |x| x } # nothing is lazy any more
File.exist?("viv://start/test")
tp.enable
class Forms < File
  define_method(:defined) { |path| File.open(path) { |f| f.read } }
  def method_missing(name, *args) = name == :missing_open ? File.open(*args, &:read) : super
  def respond_to_missing?(name, private = false) = name == :missing_open || super
  class << self
    alias_method :other_open, :open
  end
end
module Refined
  refine(File.singleton_class) { def rename(*a) = super }
end
using Refined
def returns(file) = File.open(file) { return 1 }
turns.times do |i|
  File.write(file, "y")
  Forms.open(file) { 1 }
  Forms.other_open(file) { 1 }
  forms = Forms.new(file)
  forms.defined(file)
  forms.missing_open(file)
  begin
    forms.nothing
  rescue NoMethodError
    File.public_send(:open, file) { 1 }
  end
  File.method(:open).unbind.bind_call(File, file) { 1 }
  returns(file)
  proc { File.open(file) { next 1 } }.call
  eval("File.open(file) { 1 }")
  forms.instance_eval { File.open(file) { 1 } }
  forms.close
  begin
    File.open(file) { File.rename(file, file) && raise(IOError) }
  rescue IOError
    retried = !retried
    retry if retried
  end
  File.write(file, "x")
  File.open(file) { |f| f.read; ENV["A"] = i.to_s }
  File.open(file) { break }
  [1].each { |x| next if x == 1 }
  catch(:out) { File.open(file) { File.open(file, "r", encoding: "UTF-8") { throw :out } } }
  begin
    File.open("#{dir}/none") { 1 }
  rescue Errno::ENOENT
    ENV.fetch("A") { 2 }
  end
  ENV.fetch("none") { File.rename(file, file + "2") }
  begin
    ENV.fetch("none")
  rescue KeyError
    Object.new.instance_exec(3, k: 4) { |a, k:| Process.clock_gettime(Process::CLOCK_MONOTONIC) + a + k }
  end
  Dir.glob("#{dir}/*") { |f| File.delete(f) }
  Dir.mkdir("#{dir}/d")
  Dir.rmdir("#{dir}/d")
  ENV.delete("A")
  Net::HTTP.new("localhost").address
  def self.deep(n, dir) = n.zero? ? File.readlink("#{dir}/none") : Object.new.instance_exec { TOPLEVEL_BINDING.receiver.deep(n - 1, dir) }
  begin
    deep(5, dir)
  rescue SystemCallError
    Process.pid
  end
  require "json" if i == 1
  system("exit 3") if i == 2 && $?.nil?
  Signal.trap("USR2") {} if i == 3
end
tp.disable
File.exist?("viv://stop/test")
IO.write(log, seen.join("\n"))
