;; Logs the whole of its memory again and again.
;; Attacks: fuel for host calls; the limit of log lines.
(module
  (import "postern1" "log" (func $log (param i32 i32 i32)))
  ;;common
  (memory (export "memory") 1)
  (func $attack (param $left i64) (result i32)
    (loop $again
      (call $log (i32.const 8) (i32.const 0) (i32.const 65536))
      ;;again
    )
    (i32.const 4)))
