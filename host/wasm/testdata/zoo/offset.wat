;; Reads the body from beyond its end, to a place that holds something. It
;; answers with the three codes and with what the place holds then.
;; Attacks: an offset beyond the end gives no bytes.
(module
  ;;common
  (memory (export "memory") 1)
  (data (i32.const 268) "....")
  (func $attack (param $left i64) (result i32)
    (i32.store (i32.const 256) (call $read (i32.const 0) (i32.const 1000) (i32.const 268) (i32.const 4)))
    (i32.store (i32.const 260) (call $read (i32.const 0) (i32.const 0xffffffff) (i32.const 268) (i32.const 4)))
    (i32.store (i32.const 264) (call $read (i32.const 0) (i32.const 0x80000000) (i32.const 268) (i32.const 4)))
    (call $answer (i32.const 256) (i32.const 16))))
