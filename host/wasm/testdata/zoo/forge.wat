;; Accepts an event without evidence, having tried what makes none: a hash, a
;; MAC of zeroes, a digest for evidence that is not there, a sealed comparison of
;; nothing.
;; Attacks: evidence is what the host saw verified.
(module
  (import "postern1" "event_begin" (func $event (param i32) (result i32)))
  (import "postern1" "set" (func $set (param i32 i32 i32) (result i32)))
  (import "postern1" "hash" (func $hash (param i32 i32 i32 i32) (result i32)))
  (import "postern1" "signed_begin" (func $begin (param i32 i32) (result i32)))
  (import "postern1" "signed_body" (func $body (param i32) (result i32)))
  (import "postern1" "signed_check" (func $check (param i32 i32 i32 i32) (result i32)))
  (import "postern1" "covers_body" (func $covers (param i32 i32 i32 i32 i32) (result i32)))
  (import "postern1" "same" (func $same (param i32 i32 i32 i32) (result i32)))
  (import "postern1" "same_bytes" (func $sameb (param i32 i32) (result i32)))
  ;;common
  (memory (export "memory") 1)
  (data (i32.const 512) "zoo.seen")
  (data (i32.const 640) "mac")
  (func $attack (param $left i64) (result i32)
    (drop (call $hash (i32.const 1) (i32.const 0) (i32.const 256) (i32.const 32)))
    (drop (call $body (call $begin (i32.const 640) (i32.const 3))))
    (drop (call $check (i32.const 0) (i32.const 700) (i32.const 32) (i32.const 0)))
    (drop (call $check (i32.const 0) (i32.const 256) (i32.const 32) (i32.const 0)))
    (drop (call $check (i32.const 0) (i32.const 700) (i32.const 0) (i32.const 0)))
    (drop (call $covers (i32.const 0) (i32.const 1) (i32.const 256) (i32.const 32) (i32.const 0)))
    (drop (call $covers (i32.const -1) (i32.const 1) (i32.const 256) (i32.const 32) (i32.const 0)))
    (drop (call $same (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
    (drop (call $sameb (i32.const 0) (i32.const 0)))
    (drop (call $event (i32.const 0)))
    (drop (call $event (i32.const -1)))
    (drop (call $set (i32.const 1) (i32.const 512) (i32.const 8)))
    (i32.const 1)))
