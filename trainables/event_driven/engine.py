"""prototype"""
from dataclasses import dataclass, field
from concurrent.futures import ThreadPoolExecutor
import numpy as np, torch
from torch import nn
from torch.nn import functional
from trainables.event_driven import forward, backward
from trainables.event_driven.chain import chain_of, Layer

EVENT_BYTES = 1 << 20

def lanes_of(c):
    p = -(-c // 16) * 16
    return 64 if p % 64 == 0 else 32 if p % 32 == 0 else 16

def blocks_of(c):
    return -(-c // lanes_of(c))

def words_of(c):
    return -(-blocks_of(c) * lanes_of(c) // 32)

def empty(shape, dtype):
    return torch.zeros(shape, dtype=dtype).numpy()

def pad_last(x, c):
    return functional.pad(x, (0, blocks_of(c) * lanes_of(c) - c))

@dataclass
class L:
    layer: Layer
    conv: bool
    cin: int
    c: int
    h: int
    w: int
    ph: int
    pw: int
    ih: int
    iw: int
    border_out: int = 0

class Engine:
    def __init__(self, network, input_shape, T, group=1):
        self.layers = chain_of(network)
        self.T = T
        h, w, c = input_shape
        self.ls = []
        for layer in self.layers:
            conv = layer.convolution
            oh, ow = (h, w) if conv else (1, 1)
            ph, pw = (oh // 2, ow // 2) if layer.pooled else (oh, ow)
            self.ls.append(L(layer, conv, c, layer.channels, oh, ow, ph, pw, h, w))
            h, w, c = ph, pw, layer.channels
        for a, b in zip(self.ls, self.ls[1:]):
            a.border_out = 1 if b.conv else 0

    def buffers(self, masks=True):
        T = self.T
        B = []
        tb = 8
        for i, l in enumerate(self.ls):
            d = {}
            nw = words_of(l.c); lanes = lanes_of(l.c); nb = blocks_of(l.c)
            p = l.border_out
            if l.layer.pooled:
                d['spikes'] = empty((1, T, l.h, l.w, nw), torch.int32).view(np.uint32)
                d['out'] = empty((1, T, l.ph + 2 * p, l.pw + 2 * p, nw), torch.int32).view(np.uint32)
            else:
                d['spikes'] = d['out'] = empty((1, T, l.h + 2 * p, l.w + 2 * p, nw), torch.int32).view(np.uint32)
            d['sborder'] = 0 if l.layer.pooled else p
            d['mask'] = empty((1, T if masks else 1, l.h, l.w, nw), torch.int32).view(np.uint32)
            d['potential'] = empty((nb, l.h * l.w, lanes), torch.float32)
            d['drive'] = empty((lanes,), torch.float32)
            hp, wp = (l.ih + 2, l.iw + 2) if l.conv else (l.ih, l.iw)
            cap = l.ih * l.iw * l.cin
            chunk = max(1, min(T, EVENT_BYTES // (4 * cap)))
            d['events'] = empty((chunk, cap), torch.int32)
            d['pointers'] = empty((chunk, hp, wp + 1), torch.int32)
            # backward
            cap = l.h * l.w * l.c
            d['gev'] = empty((tb, cap), torch.int32); d['gval'] = empty((tb, cap), torch.float32)
            d['gptr'] = empty((tb, l.h, l.w + 3), torch.int32)
            d['off'] = empty((l.c, tb * l.h * l.w), torch.int32); d['share'] = empty((l.c, tb * l.h * l.w), torch.float32)
            d['count'] = empty((l.c,), torch.int64)
            if i:
                nbi, li = blocks_of(l.cin), lanes_of(l.cin)
                d['grow'] = empty((l.iw, nbi, li), torch.float32)
                d['dW'] = empty((l.c, nbi, 3, 3, li) if l.conv else (l.c, l.ih * l.iw, nbi, li), torch.float32)
                d['db'] = empty((l.c,), torch.float32)
            B.append(d)
        B[0]['total'] = empty((self.ls[0].h * self.ls[0].w, blocks_of(self.ls[0].c), lanes_of(self.ls[0].c)), torch.float32)
        return B

    @torch.no_grad()
    def pack(self):
        P = []
        for i, l in enumerate(self.ls):
            m, n = l.layer.synapses, l.layer.neuron
            lanes, nb = lanes_of(l.c), blocks_of(l.c)
            d = {}
            th = n.firing_threshold.reshape(-1).expand(l.c)
            d['theta'] = functional.pad(th, (0, nb * lanes - l.c), value=1.0).reshape(nb, lanes).contiguous().numpy()
            d['start'] = pad_last(th * n.model.initial_membrane_potential, l.c).reshape(nb, lanes).contiguous().numpy()
            bias = m.bias if m.bias is not None else torch.zeros(l.c)
            d['bias'] = pad_last(bias, l.c).reshape(nb, lanes).contiguous().numpy()
            if i and l.conv:
                d['rows'] = pad_last(m.weight.permute(2, 3, 1, 0), l.c).reshape(3, 3 * l.cin, nb, lanes).permute(2, 0, 1, 3).contiguous().numpy()
                li, nbi = lanes_of(l.cin), blocks_of(l.cin)
                d['back'] = pad_last(m.weight.flip(2, 3).permute(2, 3, 0, 1), l.cin).reshape(3, 3 * l.c, nbi, li).permute(2, 0, 1, 3).contiguous().numpy()
            elif i:
                li, nbi = lanes_of(l.cin), blocks_of(l.cin)
                P_ = l.ih * l.iw
                wt = m.weight.view(l.c, l.cin, P_)
                d['rows'] = pad_last(wt.permute(2, 1, 0), l.c).reshape(1, P_ * l.cin, nb, lanes).permute(2, 0, 1, 3).contiguous().numpy()
                d['back'] = pad_last(wt.permute(2, 0, 1), l.cin).reshape(P_, l.c, nbi, li).permute(2, 0, 1, 3).contiguous().numpy()
            P.append(d)
        return P

    def fwd(self, P, B, drive):
        """drive [1, pixels, blocks, lanes]"""
        for i, l in enumerate(self.ls):
            p, b = P[i], B[i]
            lanes = lanes_of(l.c)
            clamped = l.layer.neuron.model.integrate == 'clamped'
            if i == 0:
                forward.constant_layer(lanes, clamped, False)(drive, p['theta'], p['start'], b['potential'][0], b['spikes'], b['sborder'], b['mask'])
            else:
                forward.spiking_layer(lanes, clamped, False)(B[i-1]['out'], l.cin, l.conv, p['rows'], p['bias'], p['theta'], p['start'], b['potential'], b['drive'], b['spikes'], b['sborder'], b['mask'], b['events'], b['pointers'])
            if l.layer.pooled:
                forward.pool_or(b['spikes'], b['out'], l.border_out, b['mask'])

    def outputs(self, B):
        l = self.ls[-1]
        w = torch.from_numpy(B[-1]['out'].view(np.int32))[0, :, 0, 0]
        bits = (w[:, :, None] >> torch.arange(32, dtype=torch.int32)) & 1
        return bits.flatten(1)[:, :l.c].float()

    def bwd(self, P, B, grads):
        T = self.T
        tb = 8
        B[0]['total'][:] = 0
        n = len(self.ls)
        for t0 in range(0, T, tb):
            steps = min(tb, T - t0)
            b = B[-1]
            backward.start_events(grads[t0:t0 + steps], b['mask'][0, t0:t0 + steps, 0, 0], b['gev'], b['gval'], b['gptr'], b['off'], b['share'], b['count'])
            # offsets in bytes of the input bits
            l = self.ls[-1]
            b['off'][:] *= 4 * words_of(l.cin) * l.ih * l.iw
            for i in range(n - 1, 0, -1):
                l, b, p, prev = self.ls[i], B[i], P[i], B[i - 1]
                inp = prev['out'][0, t0:t0 + steps]
                backward.weight_gradient(lanes_of(l.cin))(inp, l.conv, b['off'], b['share'], b['count'], b['dW'], b['db'])
                k = self.ls[i - 1]
                lanes = lanes_of(l.cin)
                nw = words_of(k.cin) * 4
                if i > 1:
                    if k.conv:
                        os, orow, op = nw * (k.ih + 2) * (k.iw + 2), nw * (k.iw + 2), nw
                    else:
                        os, orow, op = nw * k.ih * k.iw, 0, 0
                    new = (prev['gev'], prev['gval'], prev['gptr'], prev['off'], prev['share'], prev['count'])
                else:
                    os = orow = op = 0
                    new = (prev['gev'][:0], prev['gval'][:0], prev['gptr'][:0], prev['off'], prev['share'], prev['count'])
                backward.input_gradient(lanes)(steps, l.c, l.conv, p['back'], b['gev'], b['gval'], b['gptr'], prev['mask'][0, t0:t0+steps], k.layer.pooled, k.c, 1 if k.conv else 0, b['grow'], B[0]['total'], *new, os, orow, op)
