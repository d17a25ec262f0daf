;; Asks for random bytes over all of its memory, which is 16 MiB, and again.
;; Attacks: fuel for host calls by their bytes.
(module
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  ;;common
  (memory (export "memory") 256)
  (func $attack (param $left i64) (result i32)
    (loop $again
      (drop (call $random (i32.const 0) (i32.const 16777216)))
      ;;again
    )
    (i32.const 4)))
