;; Accepts every callback that has the token "key", as one event whose dedup key is
;; the text "key-one".
(module
  (import "postern1" "token" (func $token (param i32 i32) (result i32)))
  (import "postern1" "event_begin" (func $event (param i32) (result i32)))
  (import "postern1" "set" (func $set (param i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "key")
  (data (i32.const 8) "test.pinged")
  (data (i32.const 32) "key-one")
  (func (export "postern_abi") (result i32) (i32.const 1))
  (func (export "postern_handle") (result i32)
    (drop (call $event (call $token (i32.const 0) (i32.const 3))))
    (drop (call $set (i32.const 1) (i32.const 8) (i32.const 11)))
    (drop (call $set (i32.const 4) (i32.const 32) (i32.const 7)))
    (i32.const 1)))
