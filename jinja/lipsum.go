package jinja

import "strings"

// globalLipsum makes filler text: random, so only its shape is Jinja2's.
func globalLipsum(c *Call) (any, error) {
	a, err := c.bind(0, opt("n", 5), opt("html", true), opt("min", 20), opt("max", 100))
	if err != nil {
		return nil, err
	}
	var n [3]int
	for i, k := range []int{0, 2, 3} {
		if n[i], err = integer(a[k]); err != nil {
			return nil, err
		}
	}
	html, err := truth(a[1])
	if err != nil {
		return nil, err
	}
	if n[0] > 1000 || n[2] > 10000 {
		return nil, errorf(LimitError, "lipsum too long")
	}
	words := strings.Fields("a ac accumsan ad aenean aliquam aliquet amet ante aptent arcu at auctor augue bibendum blandit commodo condimentum congue consectetuer consequat conubia convallis cras cubilia cum curabitur curae cursus dapibus diam dictum dictumst dis dolor donec dui duis egestas eget")
	var paras []string
	for range n[0] {
		var sb strings.Builder
		count := n[1]
		if n[2] > n[1] {
			count += c.rt.rnd.IntN(n[2] - n[1])
		}
		for i := range count {
			w := words[c.rt.rnd.IntN(len(words))]
			if i == 0 {
				w = strings.ToUpper(w[:1]) + w[1:]
			} else {
				sb.WriteByte(' ')
			}
			sb.WriteString(w)
		}
		paras = append(paras, sb.String()+".")
	}
	if !html {
		return strings.Join(paras, "\n\n"), nil
	}
	for i, p := range paras {
		paras[i] = "<p>" + p + "</p>"
	}
	return Markup(strings.Join(paras, "\n")), nil
}
