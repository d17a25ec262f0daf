;; Has the host parse 4,000 values, a new handle each time.
;; Attacks: fuel for host calls by their bytes; the limit of bytes held.
(module
  (import "postern1" "view" (func $view (param i32 i32) (result i32)))
  (import "postern1" "bytes" (func $bytes (param i32 i32 i32) (result i32)))
  ;;common
  (memory (export "memory") 1)
  (data (i32.const 1024) "[1"
    ;;repeat 4000 ",1"
    "]")
  (func $attack (param $left i64) (result i32)
    (loop $again
      (drop (call $view (i32.const 1) (call $bytes (i32.const 0) (i32.const 1024) (i32.const 8003))))
      ;;again
    )
    (i32.const 4)))
