;; Asks 1,025 times for a handle of each sort, and answers with how many it got:
;; of bytes (the body has one too), signed bytes, evidence.
;; Attacks: the limit of handles.
(module
  (import "postern1" "bytes" (func $bytes (param i32 i32 i32) (result i32)))
  (import "postern1" "signed_begin" (func $signed (param i32 i32) (result i32)))
  ;;common
  (memory (export "memory") 1)
  (data (i32.const 512) "mac")
  (func $attack (param $left i64) (result i32)
    (local $n i32) (local $b i32) (local $s i32) (local $t i32)
    (loop $again
      (local.set $b (i32.add (local.get $b) (i32.ge_s (call $bytes (i32.const 0) (i32.const 0) (i32.const 0)) (i32.const 0))))
      (local.set $s (i32.add (local.get $s) (i32.ge_s (call $signed (i32.const 512) (i32.const 3)) (i32.const 0))))
      (local.set $t (i32.add (local.get $t) (i32.ge_s (call $token (i32.const 0) (i32.const 3)) (i32.const 0))))
      (br_if $again (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 1025))))
    (i32.store (i32.const 256) (local.get $b))
    (i32.store (i32.const 260) (local.get $s))
    (i32.store (i32.const 264) (local.get $t))
    (call $answer (i32.const 256) (i32.const 12))))
