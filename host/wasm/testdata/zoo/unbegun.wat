;; Says fields without an event, and events of evidence that nobody gave. It
;; answers with the codes, one byte each.
;; Attacks: a call out of order is refused.
(module
  (import "postern1" "event_begin" (func $event (param i32) (result i32)))
  (import "postern1" "set" (func $set (param i32 i32 i32) (result i32)))
  (import "postern1" "set_i64" (func $seti (param i32 i64) (result i32)))
  (import "postern1" "map" (func $map (param i32 i32 i32 i32) (result i32)))
  ;;common
  (memory (export "memory") 1)
  (func $attack (param $left i64) (result i32)
    (i32.store8 (i32.const 256) (call $set (i32.const 1) (i32.const 0) (i32.const 3)))
    (i32.store8 (i32.const 257) (call $seti (i32.const 9) (i64.const 1)))
    (i32.store8 (i32.const 258) (call $map (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0)))
    (i32.store8 (i32.const 259) (call $event (i32.const 0)))
    (i32.store8 (i32.const 260) (call $event (i32.const 0x7fffffff)))
    (i32.store8 (i32.const 261) (call $event (i32.const 0x80000000)))
    (i32.store8 (i32.const 262) (call $event (i32.const -2)))
    (call $answer (i32.const 256) (i32.const 7))))
