'use strict';
// The page without this is complete; this makes tables sortable and the timeline a thing to look into.

// ── tables ──
for (const table of document.querySelectorAll('table.sortable')) {
    const body = table.tBodies[0];
    const value = (row, i) => {
        const text = row.cells[i].textContent.trim();
        const n = parseFloat(text.replace(/,/g, ''));
        return Number.isNaN(n) || /^\d+x/.test(text) ? text : n;
    };
    [...table.tHead.rows[0].cells].forEach((th, i) => {
        const button = document.createElement('button');
        button.type = 'button';
        button.textContent = th.textContent;
        th.replaceChildren(button);
        button.addEventListener('click', () => {
            const number = th.classList.contains('n');
            const was = th.getAttribute('aria-sort');
            const down = was ? was === 'ascending' : number;
            for (const other of table.tHead.rows[0].cells) other.removeAttribute('aria-sort');
            th.setAttribute('aria-sort', down ? 'descending' : 'ascending');
            const rows = [...body.rows].map((row) => [value(row, i), row]);
            rows.sort(([a], [b]) => {
                const less = typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === 'number' ? -1 : 1;
                return down ? -less : less;
            });
            body.append(...rows.map(([, row]) => row));
        });
    });
}

// ── timeline ──
const live = document.getElementById('timeline-live');
if (live) {
    const data = JSON.parse(document.getElementById('timeline-data').textContent);
    const ROW = 30, BAR = 22, LEFT = 130, TOP = 6, AXIS = 26;
    // Absolute starts and ends, so that what is in view is found by bisection.
    const lanes = data.lanes.map((l) => {
        const n = l.d.length / 4;
        const lane = { name: l.name, busy: l.busy, start: new Float64Array(n), end: new Float64Array(n), source: new Int32Array(n), op: new Int32Array(n) };
        let at = 0;
        for (let i = 0; i < n; i++) {
            lane.start[i] = at + l.d[4 * i];
            lane.end[i] = at = lane.start[i] + l.d[4 * i + 1];
            lane.source[i] = l.d[4 * i + 2];
            lane.op[i] = l.d[4 * i + 3];
        }
        return lane;
    });
    const height = TOP + lanes.length * ROW + AXIS;
    const end = Math.max(1, data.end);
    let from = 0, to = end, picked = null, by = 'layer', frame = 0;

    const make = (name, props, ...children) => {
        const e = document.createElement(name);
        for (const [k, v] of Object.entries(props)) k in e ? (e[k] = v) : e.setAttribute(k, v);
        e.append(...children);
        return e;
    };
    const tool = (text, label, act) => make('button', { type: 'button', title: label, 'aria-label': label, onclick: act }, text);
    const select = make('select', { 'aria-label': 'Colour by', onchange: () => { by = select.value; draw(); } },
        make('option', { value: 'layer' }, 'Colour by layer'), make('option', { value: 'bound' }, 'Colour by what binds the layer'));
    const range = make('span', { className: 'hint' });
    const tools = make('div', { id: 'timeline-tools' },
        tool('+', 'Zoom in', () => zoom(0.5)), tool('−', 'Zoom out', () => zoom(2)),
        tool('◂', 'Earlier', () => pan(-0.25)), tool('▸', 'Later', () => pan(0.25)),
        tool('All', 'The whole run', () => show(0, end)), select, range);
    const canvas = make('canvas', { tabIndex: 0, role: 'img' });
    canvas.setAttribute('aria-label', `Timeline of ${(data.end * data.us).toFixed(1)} microseconds. ` +
        lanes.map((l) => `${l.name} works ${(100 * l.busy).toFixed(0)} %`).join(', ') +
        '. Arrow keys move, plus and minus zoom, comma and full stop go from one piece of work to the next.');
    const tip = make('div', { id: 'timeline-tip', hidden: true });
    const said = make('p', { id: 'timeline-said', className: 'hint' });
    said.setAttribute('role', 'status');
    said.textContent = 'Drag to move, turn the wheel with Ctrl to zoom, or use the keys: arrows, + and −, comma and full stop.';
    live.append(tools, make('div', { id: 'timeline-view' }, canvas, tip), said);
    document.getElementById('timeline-still').hidden = true;

    const dark = matchMedia('(prefers-color-scheme:dark)');
    const LIGHT = ['#6a9be0', '#e0a458', '#6fbf8f', '#b58bd6', '#5cbcc4', '#d98cb0', '#a9b45c', '#8f9bb0'];
    const DARK = ['#4f86d8', '#c98a3a', '#479a69', '#9567bd', '#3a97a0', '#b9648e', '#87923c', '#6c7890'];
    const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
    const us = (t) => t * data.us;
    const time = (t) => `${us(t) < 1000 ? us(t).toFixed(2) : us(t).toFixed(1)} us`;
    const x_of = (t, w) => LEFT + ((t - from) / (to - from)) * (w - LEFT - 8);
    const t_of = (x, w) => from + ((x - LEFT) / (w - LEFT - 8)) * (to - from);

    /** The first piece of a lane that ends after t. */
    function first_after(lane, t) {
        let a = 0, b = lane.end.length;
        while (a < b) {
            const m = (a + b) >> 1;
            if (lane.end[m] <= t) a = m + 1;
            else b = m;
        }
        return a;
    }

    function paint() {
        frame = 0;
        const w = canvas.clientWidth || 800, ratio = devicePixelRatio || 1;
        canvas.style.height = `${height}px`;
        canvas.width = Math.round(w * ratio);
        canvas.height = Math.round(height * ratio);
        const g = canvas.getContext('2d');
        g.scale(ratio, ratio);
        g.font = '12px system-ui, "Liberation Sans", sans-serif';
        g.textBaseline = 'middle';
        const ink = style('text'), muted = style('muted'), line = style('line');
        const colours = by === 'bound' ? data.bounds.map((b) => style(b)) : dark.matches ? DARK : LIGHT;
        const step = tick((to - from) * data.us, Math.max(3, Math.floor((w - LEFT) / 110)));
        g.textAlign = 'center';
        for (let v = Math.ceil(us(from) / step) * step; v <= us(to) + step * 1e-6; v += step) {
            const x = x_of(v / data.us, w);
            g.fillStyle = line;
            g.fillRect(x, TOP, 1, height - AXIS - TOP + 4);
            g.fillStyle = muted;
            g.fillText(`${Number(v.toPrecision(7))} us`, Math.min(x, w - 26), height - AXIS / 2);
        }
        lanes.forEach((lane, k) => {
            const y = TOP + k * ROW;
            g.fillStyle = muted;
            g.textAlign = 'right';
            g.fillText(`${lane.name} ${(100 * lane.busy).toFixed(0)} %`, LEFT - 8, y + BAR / 2);
            g.fillStyle = line;
            g.fillRect(LEFT, y + BAR, w - LEFT - 8, 1);
            let drawn = LEFT; // what ends before the next half pixel is covered by it
            for (let i = first_after(lane, from); i < lane.start.length && lane.start[i] < to; i++) {
                const x0 = Math.max(LEFT, x_of(lane.start[i], w)), x1 = Math.min(w - 8, x_of(lane.end[i], w));
                if (x1 < drawn + 0.4 && x1 - x0 < 0.4) continue;
                g.fillStyle = colours[by === 'bound' ? (data.bound[lane.source[i]] ?? 0) : lane.source[i] % 8];
                g.fillRect(x0, y, Math.max(0.6, x1 - x0 - (x1 - x0 > 3 ? 0.6 : 0)), BAR);
                drawn = x1;
                const name = data.names[lane.source[i]] ?? '';
                if (x1 - x0 > 46 && name) {
                    g.save();
                    g.beginPath();
                    g.rect(x0, y, x1 - x0 - 4, BAR);
                    g.clip();
                    g.fillStyle = dark.matches ? '#fff' : '#14202c';
                    g.textAlign = 'left';
                    g.fillText(short(name, Math.floor((x1 - x0) / 6.5)), x0 + 4, y + BAR / 2);
                    g.restore();
                }
            }
            if (picked && picked.lane === k) {
                const x0 = x_of(lane.start[picked.i], w), x1 = x_of(lane.end[picked.i], w);
                g.strokeStyle = ink;
                g.lineWidth = 2;
                g.strokeRect(Math.max(LEFT, x0), y - 1, Math.max(2, Math.min(w - 8, x1) - Math.max(LEFT, x0)), BAR + 2);
            }
        });
        range.textContent = `${time(from)} to ${time(to)}`;
    }
    const draw = () => { frame ||= requestAnimationFrame(paint); };
    const short = (s, n) => (s.length <= n ? s : `…${s.slice(Math.max(0, s.length - n + 1))}`);

    function tick(most, wanted) {
        const power = 10 ** Math.floor(Math.log10(most / wanted)), by10 = most / wanted / power;
        return power * (by10 <= 1 ? 1 : by10 <= 2 ? 2 : by10 <= 5 ? 5 : 10);
    }
    function show(a, b) {
        const least = Math.min(end, Math.max(20, end / 1e6)), size = Math.min(end, Math.max(least, b - a));
        const middle = (a + b) / 2;
        from = Math.min(Math.max(0, middle - size / 2), end - size);
        to = from + size;
        draw();
    }
    const zoom = (by, at = (from + to) / 2) => show(at - (at - from) * by, at + (to - at) * by);
    const pan = (by) => show(from + by * (to - from), to + by * (to - from));

    const about = (k, i) => {
        const lane = lanes[k];
        return `${data.names[lane.source[i]] ?? ''}\n${lane.name}: ${data.ops[lane.op[i]] ?? ''}, ${time(lane.start[i])} to ${time(lane.end[i])} ` +
            `(${time(lane.end[i] - lane.start[i])})\nbound by ${data.bounds[data.bound[lane.source[i]]] ?? 'nothing'}`;
    };
    function at_place(e) {
        const box = canvas.getBoundingClientRect(), w = box.width;
        const x = e.clientX - box.left, y = e.clientY - box.top, k = Math.floor((y - TOP) / ROW);
        if (k < 0 || k >= lanes.length || x < LEFT) return null;
        const t = t_of(x, w), near = (3 / w) * (to - from), lane = lanes[k], i = first_after(lane, t - near);
        return i < lane.start.length && lane.start[i] <= t + near ? { lane: k, i, x, y } : null;
    }
    function pick(p, told) {
        picked = p;
        tip.hidden = !p || told;
        if (p && !told) {
            tip.textContent = about(p.lane, p.i);
            tip.style.left = `${Math.max(0, Math.min(p.x + 12, canvas.clientWidth - tip.offsetWidth - 4))}px`;
            tip.style.top = `${p.y + 18}px`;
        }
        if (p && told) said.textContent = about(p.lane, p.i);
        draw();
    }
    let drag = null;
    canvas.addEventListener('pointerdown', (e) => {
        drag = { x: e.clientX, from, to };
        canvas.setPointerCapture(e.pointerId);
    });
    canvas.addEventListener('pointermove', (e) => {
        if (!drag) return pick(at_place(e));
        const by = ((drag.x - e.clientX) / (canvas.clientWidth - LEFT - 8)) * (drag.to - drag.from);
        tip.hidden = true;
        show(drag.from + by, drag.to + by);
    });
    for (const name of ['pointerup', 'pointercancel']) canvas.addEventListener(name, () => { drag = null; });
    canvas.addEventListener('pointerleave', () => { if (!drag) pick(null); });
    canvas.addEventListener('dblclick', (e) => { const p = at_place(e); if (p) show(lanes[p.lane].start[p.i] * 2 - lanes[p.lane].end[p.i], lanes[p.lane].end[p.i] * 2 - lanes[p.lane].start[p.i]); });
    canvas.addEventListener('wheel', (e) => {
        if (!e.ctrlKey && !e.metaKey && !e.shiftKey) return;
        e.preventDefault();
        if (e.shiftKey) pan(Math.sign(e.deltaY || e.deltaX) * 0.1);
        else zoom(e.deltaY > 0 ? 1.25 : 0.8, t_of(e.clientX - canvas.getBoundingClientRect().left, canvas.clientWidth));
    }, { passive: false });

    function step_piece(by) {
        let { lane, i } = picked ?? { lane: 0, i: by > 0 ? first_after(lanes[0], from) - 1 : first_after(lanes[0], to) };
        i = Math.min(Math.max(0, i + by), lanes[lane].start.length - 1);
        const s = lanes[lane].start[i], e = lanes[lane].end[i];
        if (e < from || s > to) show(s - (to - from) / 2, s + (to - from) / 2);
        pick({ lane, i }, true);
    }
    function step_lane(by) {
        const k = Math.min(Math.max(0, (picked?.lane ?? (by > 0 ? -1 : lanes.length)) + by), lanes.length - 1);
        const t = picked ? lanes[picked.lane].start[picked.i] : from;
        pick({ lane: k, i: Math.min(first_after(lanes[k], t), lanes[k].start.length - 1) }, true);
    }
    const keys = {
        ArrowLeft: () => pan(-0.1), ArrowRight: () => pan(0.1), ArrowUp: () => step_lane(-1), ArrowDown: () => step_lane(1),
        '+': () => zoom(0.5), '=': () => zoom(0.5), '-': () => zoom(2), Home: () => show(0, end), End: () => show(end - (to - from), end),
        ',': () => step_piece(-1), '.': () => step_piece(1), Escape: () => pick(null),
    };
    canvas.addEventListener('keydown', (e) => {
        if (!keys[e.key] || e.ctrlKey || e.altKey || e.metaKey) return;
        e.preventDefault();
        keys[e.key]();
    });
    dark.addEventListener('change', draw);
    new ResizeObserver(draw).observe(canvas);
    paint();
}
