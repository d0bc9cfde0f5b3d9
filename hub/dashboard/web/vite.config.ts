import { readFileSync } from 'node:fs'
import { svelte } from '@sveltejs/vite-plugin-svelte'
import { defineConfig, type Plugin } from 'vite'

/** The licences of what ends up in the bundle go beside it, as they ask for. */
function licences(packages: string[]): Plugin {
  return {
    name: 'licences',
    generateBundle() {
      const texts = packages.map((name) => {
        const manifest = JSON.parse(readFileSync(`node_modules/${name}/package.json`, 'utf8'))
        const file = name === 'svelte' ? 'LICENSE.md' : 'LICENSE'
        const text = readFileSync(`node_modules/${name}/${file}`, 'utf8')
        return `${name} ${manifest.version}\n\n${text.trim()}\n`
      })
      this.emitFile({ type: 'asset', fileName: 'licences.txt', source: texts.join(`\n${'-'.repeat(80)}\n\n`) })
    },
  }
}

export default defineConfig({
  base: './', // the page works under any path
  plugins: [
    svelte(),
    licences(['svelte', 'uplot', '@fontsource-variable/inter', '@fontsource-variable/jetbrains-mono']),
  ],
  build: {
    outDir: '../static',
    emptyOutDir: true,
    target: 'es2022',
    assetsInlineLimit: 0, // the content security policy allows no data: fonts
    modulePreload: { polyfill: false },
  },
  server: {
    // `npm run dev` beside a running hub, without a session: BOXHUB_TOKEN=… npm run dev
    proxy: {
      '/api': {
        target: process.env.BOXHUB_URL ?? 'http://127.0.0.1:8700',
        ws: true,
        headers: process.env.BOXHUB_TOKEN ? { authorization: `Bearer ${process.env.BOXHUB_TOKEN}` } : {},
      },
    },
  },
})
