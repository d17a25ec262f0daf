;; Has the host keep a MiB 100 times, and answers with how often it did.
;; Attacks: the limit of bytes held for one call.
(module
  (import "postern1" "bytes" (func $bytes (param i32 i32 i32) (result i32)))
  ;;common
  (memory (export "memory") 17)
  (func $attack (param $left i64) (result i32)
    (local $n i32) (local $kept i32)
    (loop $again
      (local.set $kept (i32.add (local.get $kept) (i32.ge_s (call $bytes (i32.const 0) (i32.const 0) (i32.const 1048576)) (i32.const 0))))
      (br_if $again (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 100))))
    (i32.store (i32.const 256) (local.get $kept))
    (call $answer (i32.const 256) (i32.const 4))))
