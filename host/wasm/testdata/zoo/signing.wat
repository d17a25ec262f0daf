;; Signs in a call that judges: a MAC for whoever sent the callback. It answers
;; with the codes, one byte each.
;; Attacks: the signing functions are not granted to a call that judges.
(module
  (import "postern1" "signed_begin" (func $begin (param i32 i32) (result i32)))
  (import "postern1" "signed_body" (func $body (param i32) (result i32)))
  (import "postern1" "sign" (func $sign (param i32 i32 i32 i32) (result i32)))
  (import "postern1" "encrypt" (func $encrypt (param i32 i32 i32 i32 i32) (result i32)))
  (import "postern1" "out_token" (func $outtoken (param i32 i32 i32 i32) (result i32)))
  (import "postern1" "out_header" (func $outheader (param i32 i32 i32 i32) (result i32)))
  (import "postern1" "out_body" (func $outbody (param i32 i32) (result i32)))
  (import "postern1" "respond" (func $respond (param i32 i32 i32 i32 i32) (result i32)))
  (import "postern1" "respond_mac" (func $respondmac (param i32 i32 i32 i32 i32) (result i32)))
  ;;common
  (memory (export "memory") 1)
  (data (i32.const 512) "mac")
  (data (i32.const 520) "pay 1000000")
  (func $attack (param $left i64) (result i32)
    (drop (call $body (call $begin (i32.const 512) (i32.const 3))))
    (i32.store8 (i32.const 256) (call $sign (i32.const 0) (i32.const 0) (i32.const 300) (i32.const 64)))
    (i32.store8 (i32.const 257) (call $encrypt (i32.const 512) (i32.const 3) (i32.const 300) (i32.const 16) (i32.const 0)))
    (i32.store8 (i32.const 258) (call $outtoken (i32.const 0) (i32.const 3) (i32.const 520) (i32.const 3)))
    (i32.store8 (i32.const 259) (call $outheader (i32.const 0) (i32.const 3) (i32.const 520) (i32.const 3)))
    (i32.store8 (i32.const 260) (call $outbody (i32.const 520) (i32.const 11)))
    (drop (call $respond (i32.const 200) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
    (i32.store8 (i32.const 261) (call $respondmac (i32.const 512) (i32.const 3) (i32.const 520) (i32.const 11) (i32.const 1)))
    (memory.copy (i32.const 262) (i32.const 300) (i32.const 2))
    (call $answer (i32.const 256) (i32.const 8))))
