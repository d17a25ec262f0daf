;; Asks for handles before it has any: of bytes, a view, signed bytes, evidence.
;; Then it takes one of each. It answers with the codes of its questions.
;; Attacks: nothing of one call is there in the next.
(module
  (import "postern1" "bytes" (func $bytes (param i32 i32 i32) (result i32)))
  (import "postern1" "view" (func $view (param i32 i32) (result i32)))
  (import "postern1" "kind" (func $kind (param i32 i32 i32) (result i32)))
  (import "postern1" "signed_begin" (func $begin (param i32 i32) (result i32)))
  (import "postern1" "signed_bytes" (func $sign (param i32 i32 i32) (result i32)))
  (import "postern1" "event_begin" (func $event (param i32) (result i32)))
  (import "postern1" "set" (func $set (param i32 i32 i32) (result i32)))
  ;;common
  (memory (export "memory") 1)
  (data (i32.const 512) "mac")
  (data (i32.const 520) "{}")
  (func $attack (param $left i64) (result i32)
    (i32.store8 (i32.const 256) (call $read (i32.const 1) (i32.const 0) (i32.const 600) (i32.const 64)))
    (i32.store8 (i32.const 257) (call $kind (i32.const 0) (i32.const 0) (i32.const 0)))
    (i32.store8 (i32.const 258) (call $sign (i32.const 0) (i32.const 0) (i32.const 3)))
    (i32.store8 (i32.const 259) (call $event (i32.const 0)))
    (i32.store8 (i32.const 260) (call $set (i32.const 1) (i32.const 520) (i32.const 2)))
    (drop (call $view (i32.const 1) (call $bytes (i32.const 0) (i32.const 520) (i32.const 2))))
    (drop (call $begin (i32.const 512) (i32.const 3)))
    (drop (call $event (i32.const -1)))
    (call $answer (i32.const 256) (i32.const 5))))
