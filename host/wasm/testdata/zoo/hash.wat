;; Has the host hash a MiB, again and again.
;; Attacks: fuel for host calls by their bytes.
(module
  (import "postern1" "bytes" (func $bytes (param i32 i32 i32) (result i32)))
  (import "postern1" "hash" (func $hash (param i32 i32 i32 i32) (result i32)))
  ;;common
  (memory (export "memory") 17)
  (func $attack (param $left i64) (result i32)
    (drop (call $bytes (i32.const 0) (i32.const 0) (i32.const 1048576)))
    (loop $again
      (drop (call $hash (i32.const 2) (i32.const 1) (i32.const 256) (i32.const 64)))
      ;;again
    )
    (i32.const 4)))
