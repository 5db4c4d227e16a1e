;; The frame of the components of the tests: the imports of the world, an allocator that never frees, and the export.
;; $BODY is replaced by the functions of one component.
(component
  (type $host-type (instance
    (type $failure-shape (record (field "code" string) (field "message" string)))
    (export "failure" (type $failure (eq $failure-shape)))
    (type $level-shape (enum "debug" "info" "warn" "error"))
    (export "log-level" (type $level (eq $level-shape)))
    (type $file-shape (record (field "name" string) (field "media-type" string) (field "bytes" (list u8))))
    (export "file" (type $file (eq $file-shape)))
    (export "call-agent" (func (param "agent" string) (param "inputs" string)
      (result (result string (error $failure)))))
    (export "read-context" (func (param "key" (option string)) (result (result string (error $failure)))))
    (export "write-context" (func (param "key" string) (param "value" string) (result (result (error $failure)))))
    (export "open-artifact" (func (param "artifact" string) (result (result $file (error $failure)))))
    (export "store-artifact" (func (param "name" string) (param "media-type" string) (param "bytes" (list u8))
      (result (result string (error $failure)))))
    (export "log" (func (param "level" $level) (param "message" string)))
  ))
  (import "greenroom:agent/host@1.0.0" (instance $host (type $host-type)))
  (alias export $host "failure" (type $failure))

  (core module $allocator
    (memory (export "memory") 2)
    (global $free (mut i32) (i32.const 8192))
    (func (export "realloc") (param $old i32) (param $old_bytes i32) (param $align i32) (param $bytes i32) (result i32)
      (local $start i32) (local $end i32)
      (local.set $start (i32.and (i32.add (global.get $free) (i32.const 15)) (i32.const -16)))
      (local.set $end (i32.add (local.get $start) (local.get $bytes)))
      (if (i32.gt_u (local.get $end) (i32.shl (memory.size) (i32.const 16)))
        (then
          (if (i32.eq (i32.const -1) (memory.grow (i32.add (i32.const 1) (i32.shr_u (local.get $bytes) (i32.const 16)))))
            (then unreachable))))
      (global.set $free (local.get $end))
      (memory.copy (local.get $start) (local.get $old) (local.get $old_bytes))
      (local.get $start)))
  (core instance $allocator (instantiate $allocator))
  (alias core export $allocator "memory" (core memory $memory))
  (alias core export $allocator "realloc" (core func $realloc))

  (core func $call-agent (canon lower (func $host "call-agent")
    (memory $memory) (realloc $realloc)))
  (core func $read-context (canon lower (func $host "read-context")
    (memory $memory) (realloc $realloc)))
  (core func $write-context (canon lower (func $host "write-context")
    (memory $memory) (realloc $realloc)))
  (core func $open-artifact (canon lower (func $host "open-artifact")
    (memory $memory) (realloc $realloc)))
  (core func $store-artifact (canon lower (func $host "store-artifact")
    (memory $memory) (realloc $realloc)))
  (core func $log (canon lower (func $host "log") (memory $memory)))

  (core module $main
    (import "allocator" "memory" (memory 1))
    ;; A string is its address and its length. The last parameter is the address of the result: 0 or 1 for ok or error in
    ;; the first byte; from the fourth byte on, the text, or the code and the message.
    (import "host" "call-agent" (func $call-agent (param i32 i32 i32 i32 i32)))
    (import "host" "read-context" (func $read-context (param i32 i32 i32 i32)))
    (import "host" "write-context" (func $write-context (param i32 i32 i32 i32 i32)))
    (import "host" "open-artifact" (func $open-artifact (param i32 i32 i32)))
    (import "host" "store-artifact" (func $store-artifact (param i32 i32 i32 i32 i32 i32 i32)))
    (import "host" "log" (func $log (param i32 i32 i32)))

    ;; The result ok with this text.
    (func $ok (param $text i32) (param $bytes i32) (result i32)
      (i32.store8 (i32.const 16) (i32.const 0))
      (i32.store (i32.const 20) (local.get $text))
      (i32.store (i32.const 24) (local.get $bytes))
      (i32.const 16))

    ;; The result error with this code and this message.
    (func $err (param $code i32) (param $code_bytes i32) (param $message i32) (param $bytes i32) (result i32)
      (i32.store8 (i32.const 16) (i32.const 1))
      (i32.store (i32.const 20) (local.get $code))
      (i32.store (i32.const 24) (local.get $code_bytes))
      (i32.store (i32.const 28) (local.get $message))
      (i32.store (i32.const 32) (local.get $bytes))
      (i32.const 16))

    $BODY)
  (core instance $main (instantiate $main
    (with "allocator" (instance $allocator))
    (with "host" (instance
      (export "call-agent" (func $call-agent))
      (export "read-context" (func $read-context))
      (export "write-context" (func $write-context))
      (export "open-artifact" (func $open-artifact))
      (export "store-artifact" (func $store-artifact))
      (export "log" (func $log))))))

  (type $execute-type (func (param "inputs" string) (param "context" string)
    (result (result string (error $failure)))))
  (func $execute (type $execute-type) (canon lift (core func $main "execute")
    (memory $memory) (realloc $realloc)))
  (export "execute" (func $execute)))
