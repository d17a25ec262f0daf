;; Exports a mutable global, and a function, under the names of the meter's.
;; Attacks: the names of what the meter adds are its own.
(module
  ;;common
  (memory (export "memory") 1)
  (global $mine (export "postern.meter.fuel") (mut i64) (i64.const 0x7fffffffffffffff))
  (func (export "postern.meter.yield"))
  (func $attack (param $left i64) (result i32)
    (loop $again
      (global.set $mine (i64.const 0x7fffffffffffffff))
      ;;again
    )
    (i32.const 4)))
