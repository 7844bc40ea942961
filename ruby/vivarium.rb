# frozen_string_literal: true

# What a program written for vivarium calls, for one that runs under viv-probe:
#
#     viv-probe --spans observe -- ruby -I PATH/TO/ruby app.rb | viv-spans | viv-tree
#
# It marks the observed part as a span (docs/markers.md); with --spans observe
# nothing else is recorded. Without viv-probe it costs two calls that fail.
#
# There is no daemon, no socket and no Vivarium::Box: viv watches from outside.
module Vivarium
  # What vivarium's keyword arguments said is said by the pipeline.
  INSTEAD = {
    dest: "choose where with the last program: viv-tree, or viv-otlp URL",
    filter: "put viv-filter in front of viv-tree",
    save_raw: "viv-probe -o FILE",
    otel_out: "viv-otlp -o FILE",
    otel_endpoint: "viv-otlp URL",
    socket_path: "there is no daemon"
  }.freeze
  private_constant :INSTEAD

  # An observed part of the program, until stop.
  class Session
    def initialize(at)
      file = at&.path.to_s.b.gsub(/[%&]/n) { |c| format("%%%02X", c.ord) }
      @open = true
      ::File.exist?("viv://start/Vivarium.observe?file=#{file}&line=#{at&.lineno}")
    end

    # Ends it; a second time does nothing.
    def stop
      return unless @open

      @open = false
      ::File.exist?("viv://stop/Vivarium.observe")
      nil
    end
  end

  # Observes the block, which gets the session, and returns what it returns.
  # Without a block: the session, which lasts until its stop or the program's end.
  def self.observe(**options)
    session = start(caller_locations(1, 1)&.first, options)
    return session unless block_given?

    begin
      yield session
    ensure
      session.stop
    end
  end

  # Observes the rest of the program.
  def self.top_observe(**options)
    start(caller_locations(1, 1)&.first, options)
  end

  def self.start(at, options)
    options.each_key do |name|
      warn "#{at&.path}:#{at&.lineno}: warning: vivarium: #{name}: is ignored: #{INSTEAD.fetch(name, "see viv's docs/from-vivarium.md")}"
    end
    Session.new(at)
  end
  private_class_method :start
end
