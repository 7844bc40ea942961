# frozen_string_literal: true

# Marks the calls of listed methods as spans for viv-probe, which puts this file
# in front of a Ruby program (--spans ruby). A marker is a question for a path
# that begins with viv:// (docs/markers.md).
#
# Only the listed methods are touched, so that all others run at their own
# speed. One that is written in Ruby gets a TracePoint of its own; one that is
# written in C is wrapped. What depends on its caller's variables cannot be
# wrapped (Kernel#eval, instance_eval).
#
# Spans are of threads, and a fiber's are open only while it runs: a switch to
# another one stops them and starts the other's.
module VivSpans
  # File.exist? as it is now. Not a Method, which only the main Ractor may use.
  class Mark < ::File
    class << self
      alias put exist?
    end
  end
  TO_S = ::Exception.instance_method(:to_s)
  UNSAFE = /[%?&]/n
  NOT_WRAPPED = %w[Kernel#eval Object#instance_eval BasicObject#instance_eval].freeze
  FORKS = %w[Process#fork Process#_fork Process#daemon].freeze
  private_constant :Mark, :TO_S, :UNSAFE, :NOT_WRAPPED, :FORKS

  @pending = {}
  @done = {}

  class << self
    def escape(text)
      text = text.to_s.b
      text.match?(UNSAFE) ? text.gsub(UNSAFE) { |c| format("%%%02X", c.ord) } : text
    end

    # name is escaped already; the place is depth frames up.
    def start(name, depth)
      at = caller_locations(depth, 1)&.first
      place = "?file=#{escape(at.path)}&line=#{at.lineno}" if at
      marker = "viv://start/#{name}#{place}"
      (Thread.current[:viv_spans] || new_fiber).push(name, marker)
      Mark.put(marker)
    end

    def stop(name)
      open = Thread.current[:viv_spans]
      at = open&.rindex(name) or return # it was called before we came
      open.pop(open.size - at)
      Mark.put("viv://stop/#{name}")
    end

    # In the child, which is another process, nothing has started.
    def forked
      Thread.current[:viv_spans]&.clear
    end

    def raised(tp)
      e = tp.raised_exception
      message = TO_S.bind_call(e).to_s.b[0, 512]
      Mark.put("viv://raise/#{escape(e.class.name || "Exception")}?message=#{escape(message)}&file=#{escape(tp.path)}&line=#{tp.lineno}")
    rescue ::Exception # a message of the program's own making
      nil
    end

    def install(list)
      list.each do |entry|
        owner, name = entry.split("#", 2)
        owner = "Object" if owner == "BasicObject" # the list has both, and the name is vivarium's
        (@pending[owner] ||= []) << name
      end
      look
      @pending.delete_if { |owner, _| owner == "ENV" || find(owner) }
      watch_require unless @pending.empty?
      TracePoint.new(:raise) { |tp| raised(tp) }.enable
      TracePoint.new(:fiber_switch) { switched }.enable
    end

    # Classes come with require: those that are here by now. Only the main
    # Ractor may change them.
    def look
      return if defined?(::Ractor) && !::Ractor.current.equal?(::Ractor.main)

      @pending.each do |owner, names|
        if owner == "ENV"
          names.each { |n| take(::ENV.singleton_class, owner, n.to_sym) }
          next
        end
        scope = find(owner) or next
        [scope, scope.singleton_class].each do |c|
          if names.include?("*")
            c.instance_methods(false).each { |n| take(c, owner, n) }
            c.private_instance_methods(false).each { |n| take(c, owner, n) }
          end
          names.each { |n| take(c, owner, n.to_sym) unless n == "*" }
        end
      end
    end

    private

    # What is open in this fiber: name and marker of each span. The thread
    # remembers which fiber's it was.
    def new_fiber
      open = []
      Thread.current.thread_variable_set(:viv_spans, open)
      Thread.current[:viv_spans] = open
    end

    def switched
      left = Thread.current.thread_variable_get(:viv_spans)
      open = Thread.current[:viv_spans]
      return if open.equal?(left)

      Thread.current.thread_variable_set(:viv_spans, open)
      left&.reverse_each&.with_index { |name, i| Mark.put("viv://stop/#{name}") if i.odd? }
      open&.each_with_index { |marker, i| Mark.put(marker) if i.odd? }
    end

    def find(path)
      path = "BasicObject" if path == "Object"
      path.split("::").inject(::Object) do |scope, name|
        return unless scope.const_defined?(name, false) && !scope.autoload?(name, false)

        scope.const_get(name, false)
      end
    rescue ::NameError # it is no constant's name
      nil
    end

    def take(owner, label, name)
      full = "#{label}##{name}"
      return if NOT_WRAPPED.include?(full) || @done[[owner, name]]
      return unless owner.method_defined?(name) || owner.private_method_defined?(name)

      method = owner.instance_method(name)
      # File.open is IO's; but what everything has is not the class's.
      return unless method.owner == owner || owner.singleton_class? && method.owner.singleton_class?

      @done[[owner, name]] = true
      trace(method, label) || wrap(owner, method, name, full)
    end

    # Classes that come later come with require.
    def watch_require
      require = ::Kernel.instance_method(:require)
      if require.source_location
        TracePoint.new(:return) { look }.enable(target: require)
      else
        ::Kernel.prepend(::Module.new do
          def require(name)
            super.tap { ::VivSpans.look }
          end
          private :require
        end)
      end
    end

    def trace(method, label)
      return false unless method.source_location

      # Under all its names it is one method.
      key = [method.owner, method.original_name, method.source_location]
      return true if @done[key]

      names = Hash.new { |h, id| h[id] = escape("#{label}##{id}") }
      TracePoint.new(:call, :return) do |tp|
        tp.event == :call ? start(names[tp.callee_id], 3) : stop(names[tp.callee_id])
      end.enable(target: method)
      @done[key] = true
    rescue ::ArgumentError # not of instructions that can be traced
      false
    end

    def wrap(owner, method, name, full)
      return unless name.match?(/\A[a-z_]\w*[?!=]?\z/i) || %i[[] []=].include?(name)

      marker = escape(full)
      call = "super"
      before = after = nil
      if full == "Kernel#require_relative"
        # A relative name is relative to the caller, which the wrapper is not.
        before = "at = ::Kernel.caller_locations(1, 1)&.first&.absolute_path\n" \
                 "a[0] = ::File.expand_path(a[0].respond_to?(:to_path) ? a[0].to_path : a[0], ::File.dirname(at)) if at"
        call = "super(*a, &b)"
      elsif FORKS.include?(full)
        before = "pid = $$"
        after = "::VivSpans.forked if pid != $$"
      end
      wrapper = ::Module.new
      wrapper.module_eval(<<~RUBY, __FILE__, __LINE__)
        ruby2_keywords def #{name}(*a, &b)
          ::VivSpans.start(#{marker.dump}, 2)
          #{before}
          begin
            #{call}
          ensure
            #{after}
            ::VivSpans.stop(#{marker.dump})
          end
        end
      RUBY
      wrapper.send(:private, name) if method.owner.private_method_defined?(name)
      wrapper.send(:protected, name) if method.owner.protected_method_defined?(name)
      owner.prepend(wrapper)
    end
  end
end
