import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';

// One classic script and one style sheet: a page that was opened from disk may load nothing else.
export default defineConfig({
  plugins: [svelte()],
  build: {
    outDir: '../src/pretilt/view/site/dist',
    emptyOutDir: true,
    target: 'es2022',
    cssCodeSplit: false,
    modulePreload: false,
    lib: { entry: 'src/main.ts', formats: ['iife'], name: 'pretiltViewer', fileName: () => 'viewer.js', cssFileName: 'viewer' },
  },
  define: { 'process.env.NODE_ENV': '"production"' },
});
