package intake

import (
	"strings"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/utils"
	"github.com/valyala/fasthttp"
)

// poison overwrites what a request left in the server's buffers once its handler
// is through, as the next request would: whatever was kept and not copied shows.
// Built with the tag "poison" the server does it to every request.
func poison(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		head := ctx.IsHead()
		next(ctx)
		// The method is asked for once more, and is gone by then.
		ctx.Response.SkipBody = ctx.Response.SkipBody || head
		h := &ctx.Request.Header
		for name, value := range h.All() {
			// Of this one fasthttp gives its own constant.
			if !strings.EqualFold(string(name), fasthttp.HeaderConnection) {
				fill(value)
			}
		}
		fill(h.RawHeaders())
		fill(h.Host())
		fill(h.Method())
		fill(h.RequestURI())
		fill(ctx.URI().PathOriginal())
		fill(ctx.URI().Path())
		fill(ctx.URI().QueryString())
		if ctx.UserValue(bodyKey{}) != nil { // else it is not read, and may never arrive
			first := ctx.Request.Body()
			fill(first[:cap(first)])
		}
	}
}

// poisonParams does the same to the names that the router took off the path.
func poisonParams(next fiber.Handler) fiber.Handler {
	return func(c *fiber.Ctx) error {
		err := next(c)
		if c.Context().UserValue(askedKey{}) != nil {
			return err // the same request comes once more, with its body
		}
		for _, value := range c.AllParams() {
			fill(utils.UnsafeBytes(value))
		}
		return err
	}
}

func fill(b []byte) {
	for i := range b {
		b[i] = '#'
	}
}
